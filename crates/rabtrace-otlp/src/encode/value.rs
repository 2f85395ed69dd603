//! Attributes: `KeyValue`, `AnyValue` and `ArrayValue` of OTLP.
//!
//! Source: `opentelemetry/proto/common/v1/common.proto`, v1.

use opentelemetry::{Array, KeyValue, Value};

use super::backward::{Backward, short};

/// Numbers of the fields of `AnyValue` and of the messages around it.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;
const BOOL_VALUE: u32 = 2;
const INT_VALUE: u32 = 3;
const DOUBLE_VALUE: u32 = 4;
const ARRAY_VALUE: u32 = 5;
const ARRAY_ELEMENT: u32 = 1;

/// What stands in front of a short key, a short value, and a short text in that value.
const KEY_TAG: u8 = 0x0a;
const VALUE_TAG: u8 = 0x12;
const STRING_TAG: u8 = 0x0a;

/// `attributes`, each as one element of the repeated `field`, which is below 16.
#[inline(always)]
pub(crate) fn attributes<'a>(
    mut out: Backward<'a>,
    field: u32,
    attributes: &[KeyValue],
) -> Backward<'a> {
    for attribute in attributes.iter().rev() {
        out = key_value(out, field, attribute.key.as_str(), &attribute.value);
    }
    out
}

/// One attribute.
#[inline(always)]
pub(crate) fn key_value<'a>(
    out: Backward<'a>,
    field: u32,
    key: &str,
    value: &Value,
) -> Backward<'a> {
    if let Value::String(text) = value {
        let text = text.as_str();
        if let Some(heads) = short_heads(field, key, text) {
            return out
                .bytes(text.as_bytes())
                .array(heads.of_value)
                .bytes(key.as_bytes())
                .array(heads.of_key);
        }
    }
    any_key_value(out, field, key, value)
}

/// What stands in front of the value and of the key of an attribute whose lengths all take one byte:
/// most attributes are such texts, and their heads can be written in two pieces.
struct ShortHeads {
    of_value: [u8; 4],
    of_key: [u8; 4],
}

#[inline(always)]
fn short_heads(field: u32, key: &str, text: &str) -> Option<ShortHeads> {
    let whole = short((key.len() + text.len() + 6) as u64)?;
    let text = short(text.len() as u64)?;
    let key = short(key.len() as u64).filter(|length| *length != 0)?;
    let tag = short((u64::from(field) << 3) | 2)?;
    Some(ShortHeads {
        of_value: [VALUE_TAG, text + 2, STRING_TAG, text],
        of_key: [tag, whole, KEY_TAG, key],
    })
}

#[inline(never)]
fn any_key_value<'a>(out: Backward<'a>, field: u32, key: &str, value: &Value) -> Backward<'a> {
    let whole = out.free();
    any_value(out, value)
        .close(VALUE, whole)
        .text(KEY, key)
        .close(field, whole)
}

/// The inside of an `AnyValue`: what is chosen in a `oneof` is written even when it is zero.
#[inline(always)]
fn any_value<'a>(out: Backward<'a>, value: &Value) -> Backward<'a> {
    match value {
        Value::String(text) => string(out, text.as_str()),
        Value::I64(number) => int(out, *number),
        Value::Bool(truth) => bool(out, *truth),
        Value::F64(number) => double(out, *number),
        Value::Array(array) => array_value(out, array),
        // A kind of value that this version of OpenTelemetry does not have.
        other => string(out, &other.as_str()),
    }
}

#[inline(always)]
fn string<'a>(out: Backward<'a>, text: &str) -> Backward<'a> {
    out.present_bytes(STRING_VALUE, text.as_bytes())
}

#[inline(always)]
fn int(out: Backward<'_>, number: i64) -> Backward<'_> {
    out.present_number(INT_VALUE, number.cast_unsigned())
}

#[inline(always)]
fn bool(out: Backward<'_>, truth: bool) -> Backward<'_> {
    out.present_number(BOOL_VALUE, truth.into())
}

#[inline(always)]
fn double(out: Backward<'_>, number: f64) -> Backward<'_> {
    out.present_fixed64(DOUBLE_VALUE, number.to_bits())
}

#[inline(never)]
fn array_value<'a>(out: Backward<'a>, array: &Array) -> Backward<'a> {
    let whole = out.free();
    let out = match array {
        Array::Bool(values) => elements(out, values, |out, value| bool(out, *value)),
        Array::I64(values) => elements(out, values, |out, value| int(out, *value)),
        Array::F64(values) => elements(out, values, |out, value| double(out, *value)),
        Array::String(values) => elements(out, values, |out, value| string(out, value.as_str())),
        other => elements(out, &[other], |out, value| string(out, &value.to_string())),
    };
    out.close(ARRAY_VALUE, whole)
}

#[inline(always)]
fn elements<'a, T>(
    mut out: Backward<'a>,
    values: &[T],
    write: impl Fn(Backward<'a>, &T) -> Backward<'a>,
) -> Backward<'a> {
    for value in values.iter().rev() {
        let element = out.free();
        out = write(out, value).close(ARRAY_ELEMENT, element);
    }
    out
}
