//! The list of one or many agents: what they offer, and the check of arguments by it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use redpoll_common::job::secret;
use redpoll_common::wire::{Fault, FaultCode, MAX_METHOD_LEN, Raw};
use redpoll_net::ProcedureInfo;
use redpoll_schema::{MAX_REDACT_PATHS, Schema, rooted};
use tracing::warn;

use super::compiled::{COMPILED, Key, Usable};
use crate::store::chain::sha256;

/// One version of a procedure.
#[derive(Debug)]
struct Listed {
    info: ProcedureInfo,
    /// The paths into the arguments that nobody may see, with their roots.
    redact: Vec<String>,
    /// As it came.
    element: Raw,
    /// By which its compiled schema is known, once somebody wants that.
    key: OnceLock<Key>,
}

/// What a list says of the arguments of a call.
#[derive(Debug)]
pub enum Verdict {
    /// There is no schema that could say anything.
    Silent,
    /// They fit or they do not: `bad_arguments`, with path and rule, never with a value.
    Said(Result<(), Box<Fault>>),
    /// There is a schema, and it is not compiled. To be asked again after [`compile`](super::compiled::compile); if it is not there then
    /// either, what was asked for is the agent's to refuse.
    NotCompiled,
}

/// What agents with the same list offer.
#[derive(Debug)]
pub struct Procedures {
    /// As they came.
    elements: Vec<(String, u32, Raw)>,
    names: BTreeMap<String, BTreeMap<u32, Listed>>,
}

/// What a value that was read takes in memory, with its place in a list or a map.
const VALUE_BYTES: usize = 64;

impl Procedures {
    /// About how many bytes a list takes in memory that had so many bytes and values on the wire: they are kept as they came and as
    /// they were read.
    pub fn weight(bytes: usize, values: usize) -> usize {
        bytes.saturating_mul(2).saturating_add(values.saturating_mul(VALUE_BYTES))
    }

    /// Reads the elements of a list; those that say nothing that can be used are left out.
    pub fn read(elements: Vec<Raw>) -> Self {
        let mut procedures = Self { elements: Vec::with_capacity(elements.len()), names: BTreeMap::new() };
        for element in elements {
            let Ok(mut info) = element.decode::<ProcedureInfo>() else { continue };
            if info.name.len() > MAX_METHOD_LEN {
                continue;
            }
            procedures.elements.push((info.name.clone(), info.version, element.clone()));
            // once, and not for each job
            let redact = secret_of(&mut info);
            let versions = procedures.names.entry(info.name.clone()).or_default();
            versions.insert(info.version, Listed { info, redact, element, key: OnceLock::new() });
        }
        procedures
    }

    /// The elements as they came: all, or those of a procedure, `name` for all its versions or `name@version`.
    pub fn elements(&self, procedure: Option<&str>) -> impl Iterator<Item = &Raw> {
        let (name, version) = match procedure {
            None => (None, None),
            Some(procedure) => match split(procedure) {
                Some((name, version)) => (Some(name), version),
                None => (Some(procedure), None),
            },
        };
        let fits = move |own: &str, of: u32| {
            name.is_none_or(|name| name == own) && version.is_none_or(|version| version == of)
        };
        self.elements.iter().filter(move |(own, of, _)| fits(own, *of)).map(|(_, _, element)| element)
    }

    /// Checks the arguments of a call by the schema of the version that is meant: the one that is named, or the highest that is
    /// enabled. What is not offered is the agent's to refuse: it knows its newest list.
    pub fn judge(&self, procedure: &str, args: &Raw, kwargs: &Raw) -> Verdict {
        let Some(listed) = self.find(procedure).filter(|listed| listed.has_schema()) else {
            return Verdict::Silent;
        };
        let Some(schema) = listed.compiled() else { return Verdict::NotCompiled };
        let Some(schema) = &*schema else { return Verdict::Silent };
        Verdict::Said(schema.verify(args, kwargs).map_err(|error| {
            let ProcedureInfo { name, version, .. } = &listed.info;
            Box::new(Fault::new(FaultCode::BadArguments, format!("{name}@{version}: {error}")))
        }))
    }

    /// Compiles the schema that [`judge`](Self::judge) needs, if it is not there. May take a tenth of a second.
    pub(super) fn compile(&self, procedure: &str) {
        let listed = self.find(procedure).filter(|listed| listed.has_schema());
        if let Some(listed) = listed.filter(|listed| listed.compiled().is_none()) {
            COMPILED.put(*listed.key(), listed.schema());
        }
    }

    /// The paths into the arguments of a call that nobody may see, with their roots; also of a procedure that is not offered now.
    pub fn redact(&self, procedure: &str) -> Vec<String> {
        let listed = self.find(procedure).or_else(|| {
            let (name, version) = split(procedure)?;
            let versions = self.names.get(name)?;
            match version {
                Some(version) => versions.get(&version),
                None => versions.values().next_back(),
            }
        });
        listed.map(|listed| listed.redact.clone()).unwrap_or_default()
    }

    /// Whether anything of any procedure may not be seen.
    pub fn has_secrets(&self) -> bool {
        self.names.values().flat_map(BTreeMap::values).any(|listed| !listed.info.redact.is_empty())
    }

    /// What is deprecated of what a call means: `name@version`, and why.
    pub fn deprecated(&self, procedure: &str) -> Option<(String, String)> {
        let info = &self.find(procedure)?.info;
        Some((format!("{}@{}", info.name, info.version), info.deprecated.clone()?))
    }

    /// Whether what is meant may be repeated although it may have run. Without a version every one of the procedure has to say so,
    /// those that are not offered now included: which one a later attempt will mean is not known yet.
    pub fn is_idempotent(&self, procedure: &str) -> bool {
        let Some((name, version)) = split(procedure) else { return false };
        let Some(versions) = self.names.get(name) else { return false };
        match version {
            Some(version) => versions.get(&version).is_some_and(|listed| listed.info.idempotent),
            None => !versions.is_empty() && versions.values().all(|listed| listed.info.idempotent),
        }
    }

    /// Whether what is meant now looks after the machine.
    pub fn is_admin(&self, procedure: &str) -> bool {
        self.find(procedure).is_some_and(|listed| listed.info.admin)
    }

    fn find(&self, procedure: &str) -> Option<&Listed> {
        let (name, version) = split(procedure)?;
        let versions = self.names.get(name)?;
        let offered = |listed: &&Listed| listed.info.disabled.is_none();
        match version {
            Some(version) => versions.get(&version).filter(offered),
            None => versions.values().rev().find(offered),
        }
    }
}

impl Listed {
    fn has_schema(&self) -> bool {
        !self.info.args.is_null()
    }

    fn key(&self) -> &Key {
        self.key.get_or_init(|| sha256(self.element.as_bytes()))
    }

    fn compiled(&self) -> Option<Usable> {
        COMPILED.get(self.key())
    }

    /// `None`: it cannot be used.
    fn schema(&self) -> Option<Schema> {
        let ProcedureInfo { name, version, args, redact, .. } = &self.info;
        let compiled = Schema::compile(args).map(|schema| schema.hiding(redact));
        compiled
            .inspect_err(|error| {
                // it has names that the agent chose: escaped
                let error = error.to_string();
                warn!(procedure = ?name, version, ?error, "the schema of an agent's procedure cannot be used");
            })
            .ok()
    }
}

/// What nobody may see of a procedure's arguments. A list is bounded as a whole and no more: of one that names more than a manifest
/// may, all arguments are secret.
fn secret_of(info: &mut ProcedureInfo) -> Vec<String> {
    let redact = match info.redact.len() {
        0..=MAX_REDACT_PATHS => secret::bounded(rooted(&info.redact, &info.args)),
        _ => secret::everything(),
    };
    if secret::is_everything(&redact) {
        info.redact = vec!["*".to_owned()];
    }
    redact
}

/// `name` or `name@version`, with one way to write a version.
fn split(procedure: &str) -> Option<(&str, Option<u32>)> {
    let Some((name, text)) = procedure.split_once('@') else { return Some((procedure, None)) };
    let version = text.parse::<u32>().ok().filter(|version| version.to_string() == text)?;
    Some((name, Some(version)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn procedures() -> Procedures {
        let schema = |kind: &str| {
            json!({
                "type": "object", "properties": {"n": {"type": kind}}, "required": ["n"],
                "additionalProperties": false, "x-positional": ["n"],
            })
        };
        let infos = [
            ProcedureInfo { redact: vec!["n".to_owned()], ..ProcedureInfo::new("p", "", schema("integer")) },
            ProcedureInfo { version: 2, ..ProcedureInfo::new("p", "", schema("string")) },
            ProcedureInfo {
                version: 3,
                disabled: Some("is off".to_owned()),
                redact: vec!["n".to_owned()],
                ..ProcedureInfo::new("p", "", schema("boolean"))
            },
            ProcedureInfo::new("broken", "", json!({"type": "nonsense"})),
            ProcedureInfo::new("free", "", serde_json::Value::Null),
        ];
        Procedures::read(infos.iter().map(|info| Raw::encode(info).unwrap()).chain([Raw::nil()]).collect())
    }

    fn check(procedure: &str, args: serde_json::Value, kwargs: serde_json::Value) -> Option<String> {
        let (args, kwargs) = (Raw::encode(&args).unwrap(), Raw::encode(&kwargs).unwrap());
        let procedures = procedures();
        let mut verdict = procedures.judge(procedure, &args, &kwargs);
        if matches!(verdict, Verdict::NotCompiled) {
            procedures.compile(procedure);
            verdict = procedures.judge(procedure, &args, &kwargs);
        }
        match verdict {
            Verdict::Silent => None,
            Verdict::Said(said) => said.err().map(|fault| fault.message),
            Verdict::NotCompiled => Some("it is not compiled".to_owned()),
        }
    }

    #[test]
    fn arguments_are_checked_by_the_version_that_is_meant() {
        assert_eq!(check("p@1", json!([]), json!({"n": 1})), None);
        assert_eq!(check("p", json!(["x"]), json!({})), None);
        let wrong = check("p", json!([]), json!({"n": 4711})).unwrap();
        assert!(wrong.starts_with("p@2: n: ") && wrong.contains("/properties/n/type"), "{wrong}");
        assert!(!wrong.contains("4711"), "{wrong}");
        assert!(check("p@1", json!(["x"]), json!({})).unwrap().starts_with("p@1: n: "));
    }

    #[test]
    fn what_is_not_offered_or_has_no_schema_that_can_be_used_is_left_to_the_agent() {
        for procedure in ["p@3", "p@4", "p@01", "q", "broken", "free", ""] {
            assert_eq!(check(procedure, json!([1, 2]), json!({"odd": true})), None, "{procedure}");
        }
    }

    #[test]
    fn the_paths_of_the_version_that_is_meant_are_redacted() {
        assert_eq!(procedures().redact("p@1"), ["kwargs.n", "args.0"]);
        assert_eq!(procedures().redact("p"), Vec::<String>::new());
        // its runs are refused, and their arguments are as secret as before
        assert_eq!(procedures().redact("p@3"), ["kwargs.n", "args.0"]);
        for unknown in ["p@4", "p@01", "q", ""] {
            assert_eq!(procedures().redact(unknown), Vec::<String>::new(), "{unknown}");
        }
    }

    #[test]
    fn of_more_paths_than_a_manifest_may_have_or_longer_ones_all_arguments_are_secret() {
        let of = |redact: Vec<String>| {
            let info = ProcedureInfo { redact, ..ProcedureInfo::new("p", "", json!({})) };
            let list = Procedures::read(vec![Raw::encode(&info).unwrap()]);
            assert!(list.has_secrets());
            list.redact("p")
        };
        let many = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<String>>();
        assert_eq!(of(many(MAX_REDACT_PATHS)).len(), MAX_REDACT_PATHS);
        assert_eq!(of(many(MAX_REDACT_PATHS + 1)), secret::everything());
        assert_eq!(of(vec!["p".repeat(secret::MAX_SECRET_BYTES)]), secret::everything());
    }

    #[test]
    fn a_procedure_may_be_repeated_when_every_version_that_could_be_meant_says_so() {
        let one = |version, idempotent, disabled: Option<&str>| ProcedureInfo {
            version,
            idempotent,
            disabled: disabled.map(str::to_owned),
            ..ProcedureInfo::new("p", "", json!({}))
        };
        let of = |infos: &[ProcedureInfo]| {
            let list = Procedures::read(infos.iter().map(|info| Raw::encode(info).unwrap()).collect());
            ["p", "p@1", "p@2", "p@3", "p@01", "q"].map(|procedure| list.is_idempotent(procedure))
        };
        let both = [one(1, true, None), one(2, true, None)];
        assert_eq!(of(&both), [true, true, true, false, false, false]);
        let newer = [one(1, true, None), one(2, false, None)];
        assert_eq!(of(&newer), [false, true, false, false, false, false]);
        let off = [one(1, true, None), one(2, false, Some("off"))];
        assert_eq!(of(&off), [false, true, false, false, false, false], "it may be on again tomorrow");
    }

    #[test]
    fn the_version_that_is_meant_is_deprecated_or_not() {
        let old =
            ProcedureInfo { deprecated: Some("use 2".into()), ..ProcedureInfo::new("p", "", json!({})) };
        let new = ProcedureInfo { version: 2, ..ProcedureInfo::new("p", "", json!({})) };
        let list = Procedures::read([old, new].iter().map(|info| Raw::encode(info).unwrap()).collect());
        assert_eq!(list.deprecated("p@1"), Some(("p@1".to_owned(), "use 2".to_owned())));
        assert_eq!((list.deprecated("p"), list.deprecated("q")), (None, None));
    }

    #[test]
    fn the_elements_of_a_procedure_are_those_of_its_versions() {
        let procedures = procedures();
        let count = |procedure| procedures.elements(procedure).count();
        assert_eq!((count(None), count(Some("p")), count(Some("p@2")), count(Some("q"))), (5, 3, 1, 0));
    }
}
