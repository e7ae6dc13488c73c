//! Sums over the frames of a log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::console::Report;
use crate::exit::Exit;
use crate::finding::{Finding, write_findings};
use crate::frames::ShownFrame;
use crate::page::{Page, bytes, count};
use floodmark_store::wal::{FrameHeader, SurveyedSegment};

/// Sums under way.
#[derive(Default)]
pub(super) struct Stats {
    kinds: BTreeMap<&'static str, Sum>,
    sources: BTreeMap<String, Sum>,
    segments: BTreeMap<u64, SegmentSum>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sum {
    frames: u64,
    bytes: u64,
    records: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SegmentSum {
    segment: u64,
    epoch: u64,
    first_sequence: u64,
    last_sequence: u64,
    file_bytes: u64,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Serialize)]
pub(super) struct StatsReport {
    kinds: BTreeMap<&'static str, Sum>,
    sources: BTreeMap<String, Sum>,
    segments: Vec<SegmentSum>,
    total: Sum,
    findings: Vec<Finding>,
    exit_code: Exit,
}

impl Sum {
    fn add(&mut self, frame: &ShownFrame) {
        self.frames += 1;
        self.bytes += frame.length;
        self.records += frame.records.unwrap_or_default();
    }

    fn row(&self, name: String) -> Vec<String> {
        vec![name, count(self.frames), count(self.records), bytes(self.bytes)]
    }
}

impl Stats {
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    pub fn add(&mut self, frame: &ShownFrame, _header: &FrameHeader, segment: &SurveyedSegment) {
        self.kinds.entry(frame.kind).or_default().add(frame);
        if let Some(source) = &frame.source {
            self.sources.entry(source.clone()).or_default().add(frame);
        }
        let of_segment = self.segments.entry(frame.segment).or_insert(SegmentSum {
            segment: frame.segment,
            epoch: frame.epoch,
            first_sequence: frame.sequence,
            last_sequence: frame.sequence,
            file_bytes: segment.bytes,
            sum: Sum::default(),
        });
        of_segment.last_sequence = of_segment.last_sequence.max(frame.sequence);
        of_segment.sum.add(frame);
    }

    pub fn report(&mut self, findings: Vec<Finding>, exit_code: Exit) -> StatsReport {
        let taken = std::mem::take(self);
        let mut total = Sum::default();
        for sum in taken.kinds.values() {
            total.frames += sum.frames;
            total.bytes += sum.bytes;
            total.records += sum.records;
        }
        let segments = taken.segments.into_values().collect();
        StatsReport { kinds: taken.kinds, sources: taken.sources, segments, total, findings, exit_code }
    }
}

impl Report for StatsReport {
    const SCHEMA: &'static str = "floodmark.wal.stats/1";

    fn write(&self, page: &mut Page) {
        let headers = ["frames", "records", "bytes"];
        let mut kinds: Vec<Vec<String>> = self.kinds.iter().map(|(kind, sum)| sum.row(kind.to_string())).collect();
        kinds.push(self.total.row("all".to_string()));
        page.table(&["kind", headers[0], headers[1], headers[2]], &kinds);
        if !self.sources.is_empty() {
            page.gap();
            let rows: Vec<_> = self.sources.iter().map(|(source, sum)| sum.row(source.clone())).collect();
            page.table(&["source", headers[0], headers[1], headers[2]], &rows);
        }
        page.gap();
        let rows = self.segments.iter().map(|segment| {
            let SegmentSum { segment, epoch, first_sequence, last_sequence, file_bytes, sum } = segment;
            let sequences = format!("{first_sequence}..{last_sequence}");
            vec![segment.to_string(), epoch.to_string(), sequences, count(sum.frames), bytes(*file_bytes)]
        });
        page.table(&["segment", "epoch", "sequences", "frames", "file"], &rows.collect::<Vec<_>>());
        if !self.findings.is_empty() {
            page.gap();
            write_findings(page, &self.findings);
        }
    }
}
