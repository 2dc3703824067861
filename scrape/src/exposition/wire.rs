//! Protobuf fields read one by one from bytes, without building messages.

use super::error::WireError;

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'p> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'p [u8]),
    /// No message read here has such a field.
    Fixed32,
}

/// Walks over the fields of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'p> {
    rest: &'p [u8],
}

impl<'p> Fields<'p> {
    pub(super) fn new(message: &'p [u8]) -> Fields<'p> {
        Fields { rest: message }
    }

    /// The next field and its number; groups are skipped.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'p>)>, WireError> {
        let mut group_depth = 0u32;
        loop {
            if self.rest.is_empty() {
                return if group_depth == 0 { Ok(None) } else { Err(WireError::Cut) };
            }
            let tag = take_varint(&mut self.rest)?;
            let number = tag >> 3;
            if number == 0 || number > u64::from(u32::MAX >> 4) {
                return Err(WireError::Tag(number));
            }
            let field = match tag & 7 {
                0 => Field::Varint(take_varint(&mut self.rest)?),
                1 => Field::Fixed64(u64::from_le_bytes(self.take()?)),
                2 => Field::Bytes(take_bytes(&mut self.rest)?),
                3 => {
                    group_depth += 1;
                    continue;
                }
                4 => {
                    group_depth = group_depth.checked_sub(1).ok_or(WireError::Tag(number))?;
                    continue;
                }
                5 => {
                    self.take::<4>()?;
                    Field::Fixed32
                }
                _ => return Err(WireError::Tag(number)),
            };
            if group_depth == 0 {
                return Ok(Some((number, field)));
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Cut)?;
        self.rest = rest;
        Ok(*head)
    }
}

impl<'p> Field<'p> {
    pub(super) fn varint(self, field: u64) -> Result<u64, WireError> {
        match self {
            Field::Varint(value) => Ok(value),
            other => Err(other.wrong(field)),
        }
    }

    /// A `sint64` or `sint32`.
    pub(super) fn zigzag(self, field: u64) -> Result<i64, WireError> {
        self.varint(field).map(unzigzag)
    }

    pub(super) fn double(self, field: u64) -> Result<f64, WireError> {
        match self {
            Field::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.wrong(field)),
        }
    }

    pub(super) fn bytes(self, field: u64) -> Result<&'p [u8], WireError> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(field)),
        }
    }

    /// Adds one or, packed, many `sint64`.
    pub(super) fn zigzags(self, field: u64, into: &mut Vec<i64>) -> Result<(), WireError> {
        match self {
            Field::Varint(value) => into.push(unzigzag(value)),
            Field::Bytes(mut packed) => {
                while !packed.is_empty() {
                    into.push(unzigzag(take_varint(&mut packed)?));
                }
            }
            other => return Err(other.wrong(field)),
        }
        Ok(())
    }

    /// Adds one or, packed, many `double`.
    pub(super) fn doubles(self, field: u64, into: &mut Vec<f64>) -> Result<(), WireError> {
        match self {
            Field::Fixed64(bits) => into.push(f64::from_bits(bits)),
            Field::Bytes(packed) => {
                let (values, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Cut);
                }
                into.extend(values.iter().map(|bytes| f64::from_le_bytes(*bytes)));
            }
            other => return Err(other.wrong(field)),
        }
        Ok(())
    }

    fn wrong(self, field: u64) -> WireError {
        let wire = match self {
            Field::Varint(_) => 0,
            Field::Fixed64(_) => 1,
            Field::Bytes(_) => 2,
            Field::Fixed32 => 5,
        };
        WireError::Kind { wire, field }
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Takes a number of at most ten bytes off the front.
pub(super) fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(WireError::Cut)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Overflow)
}

fn take_bytes<'p>(rest: &mut &'p [u8]) -> Result<&'p [u8], WireError> {
    let len = usize::try_from(take_varint(rest)?).map_err(|_| WireError::Cut)?;
    let (head, tail) = rest.split_at_checked(len).ok_or(WireError::Cut)?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_skipped_to_any_depth_without_recursion() {
        let mut message = vec![0x0b; 100_000];
        message.extend(vec![0x0c; 100_000]);
        message.extend([0x08, 0x05]);
        let mut fields = Fields::new(&message);
        assert!(matches!(fields.next(), Ok(Some((1, Field::Varint(5))))));
        assert!(matches!(fields.next(), Ok(None)));
    }

    #[test]
    fn a_cut_field_is_an_error() {
        for message in
            [&[0x0a, 0x05, 1][..], &[0x09, 1, 2], &[0x80], &[0x0d, 1], &[0x0b], &[0x0c], &[0x00, 1]]
        {
            assert!(Fields::new(message).next().is_err(), "{message:?}");
        }
        assert!(matches!(take_varint(&mut &[0xff; 11][..]), Err(WireError::Overflow)));
    }
}
