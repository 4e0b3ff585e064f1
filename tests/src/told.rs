//! What `rpctl` tells of a call, as JSON: what whoever scripts with it sees.

use serde_json::Value;

use crate::world::World;

/// A call as `rpctl -o jsonl call` tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// How `rpctl` ended.
    pub code: Option<i32>,
    /// The values, in their order.
    pub values: Vec<Value>,
    /// What came of the progress.
    pub progress: Vec<Value>,
    /// The result, or the fault.
    pub end: Result<Value, Value>,
    /// What is meant for people.
    pub stderr: String,
}

impl Told {
    /// Calls with these words after `call`.
    ///
    /// # Panics
    /// When `rpctl` does not end, or says what is no JSON, or no end.
    pub async fn of(world: &World, words: &[&str]) -> Self {
        let words = [&["-o", "jsonl", "call"], words].concat();
        let output = world.run_rpctl(&words).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8(output.stdout).expect("text");
        let (mut values, mut progress, mut end) = (Vec::new(), Vec::new(), None);
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let object = line.as_object().expect("an object");
            for (key, value) in object {
                match key.as_str() {
                    "value" => values.push(value.clone()),
                    "progress" => progress.push(value.clone()),
                    "result" => end = Some(Ok(value.clone())),
                    "fault" => end = Some(Err(value.clone())),
                    other => panic!("{words:?} says {other}"),
                }
            }
        }
        let Some(end) = end else { panic!("{words:?} has no end: {text}{stderr}") };
        Self { code: output.status.code(), values, progress, end, stderr }
    }

    /// The result of a call that has one.
    ///
    /// # Panics
    /// When it failed.
    pub fn result(&self) -> &Value {
        let Ok(result) = &self.end else { panic!("it failed: {self:?}") };
        assert_eq!(self.code, Some(0), "{self:?}");
        result
    }

    /// The fault of a call that failed.
    ///
    /// # Panics
    /// When it did not.
    pub fn fault(&self) -> &Value {
        let Err(fault) = &self.end else { panic!("it did not fail: {self:?}") };
        assert_ne!(self.code, Some(0), "{self:?}");
        fault
    }

    /// A text of the fault, such as its `message`; empty when there is none.
    pub fn said(&self, key: &str) -> &str {
        self.fault().get(key).and_then(Value::as_str).unwrap_or_default()
    }
}
