//! Values of socket options: how a script writes them, and whether what was told is what it expects. The calls are made in
//! `calls`.

use crate::constants::number;
use crate::language::Value;

/// A value as bytes: numbers as C's `int`, those of a list or a structure one behind the other, a text without its end.
pub fn bytes_of(value: &Value) -> Result<Vec<u8>, String> {
    let int = |value: &Value| {
        let number = number(value)?;
        let int = i32::try_from(number).or_else(|_| u32::try_from(number).map(u32::cast_signed));
        int.map(|int| int.to_ne_bytes().to_vec()).map_err(|error| error.to_string())
    };
    Ok(match value {
        Value::List(list) => list.iter().map(int).collect::<Result<Vec<_>, _>>()?.concat(),
        Value::Struct(fields) => {
            fields.iter().map(|(_, value)| int(value)).collect::<Result<Vec<_>, _>>()?.concat()
        }
        Value::Text(text) => text.as_bytes().to_vec(),
        other => int(other)?,
    })
}

/// What `getsockopt` is to tell.
#[derive(Debug)]
pub struct Expected {
    /// The bytes; `None`: any.
    bytes: Option<Vec<u8>>,
    /// They are a text, which may be followed by the zeroes of its buffer.
    is_text: bool,
    /// The length that is given, and told; `None`: any.
    len: Option<usize>,
}

/// Room for an option whose length the script leaves open.
const ROOM: usize = 256;

impl Expected {
    /// From the last two arguments. The length goes both ways, which is why it may stand in brackets.
    ///
    /// Errors: one of them cannot be read.
    pub fn of(value: &Value, len: &Value) -> Result<Expected, String> {
        let len = match len {
            Value::Any => None,
            Value::List(list) if list.len() == 1 => Some(number(&list[0])?),
            other => Some(number(other)?),
        };
        let len =
            len.map(|len| usize::try_from(len).map_err(|_| "a negative length".to_owned())).transpose()?;
        let mut bytes = if *value == Value::Any { None } else { Some(bytes_of(value)?) };
        if let (Some(bytes), Some(len)) = (&mut bytes, len) {
            bytes.truncate(len);
        }
        Ok(Expected { bytes, is_text: matches!(value, Value::Text(_)), len })
    }

    /// The room to give.
    pub fn room(&self) -> usize {
        self.len.unwrap_or(ROOM)
    }

    /// Compare with what was told.
    ///
    /// Errors: how the two differ.
    pub fn check(&self, told: &[u8]) -> Result<(), String> {
        if let Some(len) = self.len.filter(|len| *len != told.len()) {
            return Err(format!("getsockopt told {} bytes, not {len}", told.len()));
        }
        let Some(expected) = &self.bytes else { return Ok(()) };
        let end = told.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let told = if self.is_text { &told[..end] } else { told };
        if told == expected {
            return Ok(());
        }
        let words = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
            _ if self.is_text => format!("{:?}", String::from_utf8_lossy(bytes)),
            Ok(word) => i32::from_ne_bytes(word).to_string(),
            Err(_) => format!("{bytes:?}"),
        };
        Err(format!("getsockopt told {}, not {}", words(told), words(expected)))
    }
}
