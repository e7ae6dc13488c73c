//! Every object of a stored job missing, cut, and with a bit flipped: `verify` names it, and says what a start then does.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::files::{PREFIX, json, on, start, store_of, stored};
use crate::kit::{Sent, World};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Missing,
    Cut,
    Flipped,
}

/// What can be said all the same; the first ones of every damage, the others of one kind.
const VERBS: [&str; 8] =
    ["plan URL", "status URL", "log URL", "wal URL", "tail URL", "du URL", "batches URL", "gc URL"];

fn damaged(objects: &BTreeMap<String, Bytes>, name: &str, damage: Damage) -> World {
    let mut objects = objects.clone();
    let mut bytes = objects.remove(name).unwrap().to_vec();
    let middle = bytes.len() / 2;
    match damage {
        Damage::Missing => {}
        Damage::Cut => drop(objects.insert(name.to_string(), bytes[..middle].to_vec().into())),
        Damage::Flipped => {
            bytes[middle] ^= 1;
            objects.insert(name.to_string(), bytes.into());
        }
    }
    World { store: store_of(&objects), ..World::default() }
}

/// What nothing can tell: a chain and a log that end one object earlier are whole.
fn leaves_no_trace(objects: &BTreeMap<String, Bytes>, name: &str, verified: &serde_json::Value) -> bool {
    // What is kept for ever, for drivers that might wake, is read by nobody else.
    let is_read = verified["findings"].as_array().is_some_and(|findings| !findings.is_empty());
    is_last(objects, "/manifests/", name) || is_last(objects, "/log/", name) || !is_read
}

fn is_last(objects: &BTreeMap<String, Bytes>, below: &str, name: &str) -> bool {
    objects.keys().rfind(|it| it.contains(below)).is_some_and(|it| it == name)
}

fn check(objects: &BTreeMap<String, Bytes>, sent: &Sent, name: &str, damage: Damage) -> u8 {
    let world = damaged(objects, name, damage);
    let short = name.strip_prefix(PREFIX).unwrap();
    let (report, code) = json(&world.store, "verify URL --full");
    let names: Vec<&str> =
        report["findings"].as_array().unwrap().iter().filter_map(|finding| finding["file"].as_str()).collect();
    let what = format!("{damage:?} {short}: {code} {report}");
    if damage != Damage::Missing || !leaves_no_trace(objects, name, &report) {
        assert!(names.contains(&short), "it is not named: {what}");
    }
    assert!([0, 3, 4].contains(&code), "{what}");
    // The other verbs say what they can.
    let verbs = if damage == Damage::Flipped { &VERBS[..] } else { &VERBS[..2] };
    for verb in verbs {
        let outcome = on(&world.store, verb);
        assert!([0, 3, 4].contains(&outcome.code), "{verb}: {outcome:?}: {what}");
        let reads_all = *verb == "plan URL";
        assert!(!reads_all || (outcome.code == 4) == (code == 4), "{verb}: {outcome:?}: {what}");
    }
    match start(&world) {
        Ok(life) => {
            assert!(code != 4, "it starts: {what}");
            if !(damage == Damage::Missing && is_last(objects, "/log/", name)) {
                life.tick().unwrap();
                let counts = life.counts();
                let lost = sent.acknowledged.iter().find(|word| counts.get(*word) != Some(&1));
                assert_eq!(lost, None, "{what}");
            }
        }
        Err(error) => {
            assert_eq!(code, 4, "it does not start: {error}: {what}");
            if damage != Damage::Missing {
                assert!(error.to_string().contains(short), "{error}: {what}");
            }
        }
    }
    code
}

#[test]
fn every_object_of_a_stored_job_that_is_missing_cut_or_flipped_is_named_and_a_start_does_what_verify_says() {
    let (world, sent) = stored(6);
    let objects = world.store.objects();
    let mut told: BTreeMap<u8, u64> = BTreeMap::new();
    for name in objects.keys() {
        for damage in [Damage::Missing, Damage::Cut, Damage::Flipped] {
            *told.entry(check(&objects, &sent, name, damage)).or_default() += 1;
        }
    }
    println!("{} objects; exit codes of verify: {told:?}", objects.len());
    assert!(objects.len() > 20 && told[&4] > 10 && told[&3] > 10, "{told:?}");
}

#[test]
fn a_checkpoint_whose_newer_one_is_damaged_can_still_be_read() {
    let (world, _) = stored(6);
    let objects = world.store.objects();
    let newest = objects.keys().rfind(|name| name.contains("/files/")).unwrap().clone();
    let world = damaged(&objects, &newest, Damage::Flipped);
    let outcome = on(&world.store, "operators URL");
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let next = outcome.stderr.lines().find_map(|line| line.strip_prefix("next: ")).expect("an older one is named");
    let again = on(&world.store, next.strip_prefix("floodmark ").unwrap());
    assert_eq!(again.code, 0, "{next}: {again:?}");
}

#[test]
fn what_a_pin_holds_is_verified_too_and_no_start_is_refused_because_of_it() {
    let (world, mut sent) = stored(3);
    let pinned = on(&world.store, "pin URL 6 --apply --confirm counts");
    assert_eq!(pinned.code, 0, "{pinned:?}");
    let life = start(&world).unwrap();
    life.run_batches("more", 40, &mut sent).unwrap();
    drop(life);
    let objects = world.store.objects();
    let pin = objects.keys().find(|name| name.contains("/pins/")).unwrap();
    let directory = pin.rsplit('/').next().unwrap();
    let of_pin = objects.keys().filter(|name| name.contains("/files/") && name.contains(directory));
    let mut only_pins = 0;
    for name in of_pin.chain([pin]) {
        for damage in [Damage::Missing, Damage::Cut, Damage::Flipped] {
            let world = damaged(&objects, name, damage);
            let (report, code) = json(&world.store, "verify URL --full");
            if name == pin && damage == Damage::Missing {
                continue; // nothing is pinned then
            }
            if report["findings"][0]["code"] != "PIN_DAMAGED" {
                assert!([3, 4].contains(&code), "a checkpoint of the chain has it, too: {damage:?} {name}: {report}");
                continue;
            }
            only_pins += usize::from(name != pin);
            assert_eq!(code, 3, "{damage:?} {name}: {report}");
            let life = start(&world).unwrap();
            life.run_batches("after", 4, &mut Sent::default()).unwrap();
        }
    }
    assert!(only_pins >= 3, "every file of the pin is shared with the chain");
}
