//! The schema of a job: all that a start compares with what is stored, without the job's code.

use serde::{Deserialize, Deserializer, Serialize};

use crate::checkpoint::KeyLayout;
use crate::recovery::declared::Declared;
use crate::recovery::descriptor::{SourceClass, SourceDescriptor};
use crate::recovery::refusal::Refusal;
use crate::state::descriptor::StateDescriptor;
use crate::state::schema::Schema;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::Uid;

/// The name and version of the JSON.
const FORMAT: &str = "floodmark.job/2";
/// The version before, which is still read: it had the uids of sources, and no interval and no parameters.
const FORMAT_1: &str = "floodmark.job/1";

/// What a build of a job declares, as far as a start compares it with what is stored (I-9): a new build can export it, and
/// `floodmark compat --schema FILE` then says whether that build can take a store over, before it is deployed.
///
/// Shapes of types are texts, as in a checkpoint's manifest: `(str, u64)`, `Order { id: u64 }`.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// use floodmark::JobSchema;
///
/// /// Whether two builds of a job keep the same state.
/// fn keep_the_same(one: &JobSchema, other: &JobSchema) -> bool {
///     one.operators == other.operators
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSchema {
    /// The name and version of this format.
    schema: String,
    /// The job's name.
    pub job: String,
    keys: KeyLayout,
    /// The operators that keep state, in the order of the graph.
    pub operators: Vec<OperatorSchema>,
    /// The sources, in the order of the graph.
    #[serde(deserialize_with = "sources_or_uids")]
    pub sources: Vec<SourceSchema>,
    /// The batch interval in milliseconds; 0 where the exporting build did not say.
    #[serde(default)]
    pub interval_ms: u64,
    /// Uids whose stored state, or unplanned blocks, the build gives up.
    pub dropped: Vec<String>,
    goes_on_without_log: bool,
}

/// An operator that keeps state, as a build declares it.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// fn describe(operator: &floodmark::OperatorSchema) -> String {
///     format!("\"{}\": {} of {} by {}", operator.uid, operator.kind, operator.state_type, operator.key_type)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperatorSchema {
    /// Its uid.
    pub uid: String,
    /// What sort of operator it is, by its method's name.
    pub kind: String,
    /// The shape of its keys.
    pub key_type: String,
    /// The shape of a state.
    pub state_type: String,
    /// The version of its state.
    pub state_version: u32,
    /// Older versions that it can migrate.
    pub migrations: Vec<MigrationSchema>,
    /// What else the meaning of its state depends on, by name, such as the length of a window in milliseconds.
    #[serde(default)]
    pub parameters: Vec<(String, u64)>,
}

/// A source, as a build declares it.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// fn describe(source: &floodmark::SourceSchema) -> String {
///     format!("\"{}\": {}", source.uid, source.kind)
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceSchema {
    /// Its uid.
    pub uid: String,
    /// `receiver` or `direct`; empty where the exporting build did not say.
    pub class: String,
    /// What sort of source it is; empty where the exporting build did not say.
    pub kind: String,
    /// The type of what is logged, of a receiver.
    pub record_type: String,
    /// The type of the position, of a direct source.
    pub position_type: String,
    /// The type of a range, of a direct source.
    pub range_type: String,
}

/// An older version of a state that an operator can migrate.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// fn describe(migration: &floodmark::MigrationSchema) -> String {
///     format!("from version {}, {}", migration.from_version, migration.state_type)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MigrationSchema {
    /// The older version.
    pub from_version: u32,
    /// The shape that a state had in it.
    pub state_type: String,
}

impl JobSchema {
    /// What a program declares.
    #[doc(hidden)] // for Floodmark's own crates
    pub fn of(declared: &Declared) -> Result<Self, Refusal> {
        let strings = |uids: &[Uid]| uids.iter().map(Uid::to_string).collect();
        Ok(Self {
            schema: FORMAT.to_string(),
            job: declared.name.clone(),
            keys: declared.keys.clone(),
            operators: declared.operators.iter().map(OperatorSchema::of).collect::<Result<_, _>>()?,
            sources: declared.sources.iter().map(SourceSchema::of).collect(),
            interval_ms: declared.interval_ms,
            dropped: strings(&declared.dropped),
            goes_on_without_log: declared.goes_on_without_log,
        })
    }

    /// What the program that was exported declares.
    #[doc(hidden)] // for Floodmark's own crates
    pub fn declared(&self) -> Declared {
        let uids = |uids: &[String]| uids.iter().map(|uid| Uid::from(uid.as_str())).collect();
        Declared {
            name: self.job.clone(),
            keys: self.keys.clone(),
            operators: self.operators.iter().map(OperatorSchema::descriptor).collect(),
            sources: self.sources.iter().map(SourceSchema::descriptor).collect(),
            interval_ms: self.interval_ms,
            dropped: uids(&self.dropped),
            goes_on_without_log: self.goes_on_without_log,
        }
    }

    /// As JSON, in lines for people, too.
    ///
    /// # Panics
    /// Never: strings and numbers encode.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers encode as JSON") + "\n"
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// `Configuration` when it is something else, or of another version.
    pub fn from_json(json: &str) -> Result<Self> {
        let wrong = |found: String| {
            Error::new(ErrorKind::Configuration, format!("not the schema of a job: expected {FORMAT}, found {found}"))
        };
        let value: serde_json::Value = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        match value.get("schema").and_then(serde_json::Value::as_str) {
            Some(FORMAT | FORMAT_1) => {}
            Some(other) => return Err(wrong(other.to_string())),
            None => return Err(wrong("JSON without a \"schema\"".to_string())),
        }
        serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
    }
}

impl SourceSchema {
    fn of(source: &SourceDescriptor) -> Self {
        let class = match source.class {
            SourceClass::Receiver => "receiver",
            SourceClass::Direct => "direct",
            SourceClass::Unknown => "",
        };
        Self {
            uid: source.uid.to_string(),
            class: class.to_string(),
            kind: source.kind.clone(),
            record_type: source.records.text().to_string(),
            position_type: source.position.text().to_string(),
            range_type: source.ranges.text().to_string(),
        }
    }

    fn descriptor(&self) -> SourceDescriptor {
        use crate::recovery::descriptor::StoredType;
        SourceDescriptor {
            uid: Uid::from(self.uid.as_str()),
            class: match self.class.as_str() {
                "receiver" => SourceClass::Receiver,
                "direct" => SourceClass::Direct,
                _ => SourceClass::Unknown,
            },
            kind: self.kind.clone(),
            records: StoredType::of_text(self.record_type.as_str()),
            position: StoredType::of_text(self.position_type.as_str()),
            ranges: StoredType::of_text(self.range_type.as_str()),
        }
    }
}

/// Sources; version 1 had their uids only.
fn sources_or_uids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SourceSchema>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Uid(String),
        Source(SourceSchema),
    }
    let source = |either| match either {
        Either::Uid(uid) => SourceSchema { uid, ..SourceSchema::default() },
        Either::Source(source) => source,
    };
    Ok(Vec::<Either>::deserialize(deserializer)?.into_iter().map(source).collect())
}

impl OperatorSchema {
    fn of(operator: &StateDescriptor) -> Result<Self, Refusal> {
        let text = |what, schema: &Schema| {
            schema.text().map(str::to_string).map_err(|reason| Refusal::NoSchema {
                uid: operator.uid.clone(),
                what,
                reason: reason.to_string(),
            })
        };
        let migration = |(from, schema): &(u32, Schema)| {
            let state_type = text("the older state type", schema)?;
            Ok::<_, Refusal>(MigrationSchema { from_version: *from, state_type })
        };
        Ok(Self {
            uid: operator.uid.to_string(),
            kind: operator.kind.to_string(),
            key_type: text("the key type", &operator.key_schema)?,
            state_type: text("the state type", &operator.state_schema)?,
            state_version: operator.version,
            migrations: operator.migrations.iter().map(migration).collect::<Result<_, _>>()?,
            parameters: operator.parameters.clone(),
        })
    }

    fn descriptor(&self) -> StateDescriptor {
        let migration = |it: &MigrationSchema| (it.from_version, Schema::of_text(&it.state_type));
        StateDescriptor {
            uid: Uid::from(self.uid.as_str()),
            kind: self.kind.clone().into(),
            key_schema: Schema::of_text(&self.key_type),
            state_schema: Schema::of_text(&self.state_type),
            seen_schema: Schema::of_text(&self.state_type),
            version: self.state_version,
            migrations: self.migrations.iter().map(migration).collect(),
            parameters: self.parameters.clone(),
        }
    }
}
