//! JSON values that may be of another type than expected: then they are absent, not an error.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A count, if the value is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count(pub(super) Option<u64>);

/// A text, if the value is one that is not empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text(pub(super) Option<String>);

/// A boolean, if the value is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flag(pub(super) Option<bool>);

/// An object, if the value is one; the broker writes an empty one as `[]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Object<T>(pub(super) T);

/// What any JSON value is read into.
enum Any<T> {
    Count(u64),
    Text(String),
    Flag(bool),
    Object(T),
    Other,
}

struct AnyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnyVisitor<T> {
    type Value = Any<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Any<T>, E> {
        Ok(Any::Count(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Any<T>, E> {
        Ok(Any::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Any<T>, E> {
        Ok(Any::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Any<T>, E> {
        Ok(Any::Flag(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Any<T>, E> {
        Ok(Any::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Any<T>, E> {
        Ok(Any::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Any<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Any::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Any<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Any::Object)
    }
}

fn any<'de, T, D>(deserializer: D) -> Result<Any<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(AnyVisitor(PhantomData))
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match any::<IgnoredAny, D>(deserializer)? {
            Any::Count(count) => Some(count),
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match any::<IgnoredAny, D>(deserializer)? {
            Any::Text(text) => Some(text),
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match any::<IgnoredAny, D>(deserializer)? {
            Any::Flag(flag) => Some(flag),
            _ => None,
        }))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match any::<T, D>(deserializer)? {
            Any::Object(object) => object,
            _ => T::default(),
        }))
    }
}

/// Gives each row of a listing to `take`: of ten thousand rows one is held.
pub(super) fn rows<'de, T: Deserialize<'de>>(
    body: &'de str,
    take: impl FnMut(T),
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(body);
    deserializer.deserialize_seq(Rows(take, PhantomData))?;
    deserializer.end()
}

struct Rows<T, F>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Rows<T, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a listing")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element()? {
            (self.0)(row);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Flag, Object, Text};

    #[test]
    fn another_type_is_absent() {
        let count = |json| serde_json::from_str::<Count>(json).unwrap().0;
        assert_eq!(count("18446744073709551615"), Some(u64::MAX));
        for json in [
            "-1",
            "1.5",
            "\"unknown\"",
            "null",
            "[]",
            "[1,2]",
            "{\"a\":1}",
            "true",
        ] {
            assert_eq!(count(json), None, "{json}");
        }
        let text = |json| serde_json::from_str::<Text>(json).unwrap().0;
        assert_eq!(text("\"a\\u00e9\""), Some("aé".to_owned()));
        assert_eq!(text("3"), None);
        let flag = |json| serde_json::from_str::<Flag>(json).unwrap().0;
        assert_eq!((flag("true"), flag("\"true\"")), (Some(true), None));
        let object = |json| serde_json::from_str::<Object<Vec<u8>>>(json).unwrap().0;
        assert_eq!(object("[]"), Vec::<u8>::new());
    }
}
