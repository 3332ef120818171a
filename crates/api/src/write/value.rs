//! Values as documents: how a shape becomes a [`Value`] again.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_seams::Timestamp;

use crate::{Value, Writer};

/// Writes one [`Value`].
#[derive(Debug, Default)]
pub(crate) struct ValueWriter {
    open: Vec<Container>,
    done: Value,
}

#[derive(Debug)]
enum Container {
    List(Vec<Value>),
    Map(BTreeMap<String, Value>, String),
}

impl ValueWriter {
    pub(crate) fn into_value(self) -> Value {
        self.done
    }

    fn value(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Container::List(items)) => items.push(value),
            Some(Container::Map(entries, key)) => {
                entries.insert(std::mem::take(key), value);
            }
            None => self.done = value,
        }
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(Container::List(items)) => self.value(Value::List(items)),
            Some(Container::Map(entries, _)) => self.value(Value::Map(entries)),
            None => {}
        }
    }
}

impl Writer for ValueWriter {
    fn begin_structure(&mut self) {
        self.open.push(Container::Map(BTreeMap::new(), String::new()));
    }

    fn member(&mut self, name: &'static str, _: &'static str) {
        self.key(name);
    }

    fn end_structure(&mut self) {
        self.end();
    }

    fn begin_list(&mut self, _: &'static str) {
        self.open.push(Container::List(Vec::new()));
    }

    fn end_list(&mut self) {
        self.end();
    }

    fn begin_map(&mut self, _: &'static str, _: &'static str, _: &'static str) {
        self.begin_structure();
    }

    fn key(&mut self, key: &str) {
        if let Some(Container::Map(_, name)) = self.open.last_mut() {
            key.clone_into(name);
        }
    }

    fn end_map(&mut self) {
        self.end();
    }

    fn null(&mut self) {
        self.value(Value::Null);
    }

    fn boolean(&mut self, value: bool) {
        self.value(Value::Bool(value));
    }

    fn integer(&mut self, value: i64) {
        self.value(Value::Int(value));
    }

    fn float(&mut self, value: f64) {
        // Stored records are JSON, which has no other way to say these.
        self.value(match value {
            value if value.is_finite() => Value::Float(value),
            value if value.is_nan() => Value::from("NaN"),
            value => Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        });
    }

    fn string(&mut self, value: &str) {
        self.value(Value::String(value.to_owned()));
    }

    fn timestamp(&mut self, value: Timestamp) {
        let millis = value.as_millis();
        #[expect(clippy::cast_precision_loss, reason = "exact to the millisecond for every year of four digits")]
        self.value(if millis % 1000 == 0 { Value::Int(millis / 1000) } else { Value::Float(millis as f64 / 1000.0) });
    }

    fn blob(&mut self, value: &[u8]) {
        self.value(Value::String(STANDARD.encode(value)));
    }
}
