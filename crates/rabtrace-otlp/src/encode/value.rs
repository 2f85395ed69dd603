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

/// The same with their wire types, as they stand on the wire.
const KEY_TAG: u8 = 0x0a;
const VALUE_TAG: u8 = 0x12;
const STRING_TAG: u8 = 0x0a;
const BOOL_TAG: u8 = 0x10;
const INT_TAG: u8 = 0x18;
const DOUBLE_TAG: u8 = 0x21;

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
///
/// Nearly all have lengths that take one byte each: then what stands in front of the value, and in
/// front of the key, are pieces of a known size.
#[inline(always)]
pub(crate) fn key_value<'a>(
    out: Backward<'a>,
    field: u32,
    key: &str,
    value: &Value,
) -> Backward<'a> {
    let Some(length) = short_length(value) else {
        return any_key_value(out, field, key, value);
    };
    let Some(heads) = key_heads(field, key, length) else {
        return any_key_value(out, field, key, value);
    };
    short_value(out, value, length)
        .bytes(key.as_bytes())
        .array(heads)
}

/// Bytes that the inside of `value` takes, if it is of the kinds and sizes that [`short_value`] writes.
#[inline(always)]
fn short_length(value: &Value) -> Option<u8> {
    match value {
        Value::String(text) => short(text.as_str().len() as u64 + 2),
        Value::I64(0..0x80) | Value::Bool(_) => Some(2),
        Value::I64(0x80..0x4000) => Some(3),
        Value::F64(_) => Some(9),
        _ => None,
    }
}

/// The value with its head, for a value of [`short_length`].
#[inline(always)]
fn short_value<'a>(out: Backward<'a>, value: &Value, length: u8) -> Backward<'a> {
    match value {
        Value::String(text) => {
            let head = [VALUE_TAG, length, STRING_TAG, length.wrapping_sub(2)];
            out.bytes(text.as_str().as_bytes()).array(head)
        }
        Value::I64(number) => {
            let [low, high, ..] = (number << 1).to_le_bytes();
            if length == 2 {
                return out.array([VALUE_TAG, length, INT_TAG, low >> 1]);
            }
            out.array([VALUE_TAG, length, INT_TAG, low >> 1 | 0x80, high])
        }
        Value::Bool(truth) => out.array([VALUE_TAG, length, BOOL_TAG, (*truth).into()]),
        Value::F64(number) => out
            .array(number.to_bits().to_le_bytes())
            .array([VALUE_TAG, length, DOUBLE_TAG]),
        _ => out,
    }
}

/// What stands in front of a key that is followed by a value of `length`.
#[inline(always)]
fn key_heads(field: u32, key: &str, length: u8) -> Option<[u8; 4]> {
    let whole = short(key.len() as u64 + u64::from(length) + 4)?;
    let [key, ..] = key.len().to_le_bytes();
    if key == 0 {
        return None;
    }
    let [field, ..] = field.to_le_bytes();
    Some([field << 3 | 2, whole, KEY_TAG, key])
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
