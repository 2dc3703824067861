//! Protobuf's wire format, read in place.
//!
//! ```text
//! ┌──────────────────────┬─────────────────────────────────────────┐
//! │ varint field<<3|kind │ 0 varint · 1 8 bytes · 2 len + bytes ·  │
//! │                      │ 5 4 bytes                               │
//! └──────────────────────┴─────────────────────────────────────────┘
//! ```

/// Bytes that are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A value reaches beyond the message.
    #[error("proto: unexpected end of message at byte {0}")]
    Truncated(usize),
    /// A varint of more than ten bytes.
    #[error("proto: integer overflow at byte {0}")]
    Overflow(usize),
    /// A kind of value that does not exist, or field number 0.
    #[error("proto: illegal tag {tag} at byte {at}")]
    Tag {
        /// The tag.
        tag: u64,
        /// Where.
        at: usize,
    },
    /// A field with a value of another kind than it must have.
    #[error("proto: wrong wire type for field {0}")]
    Kind(u32),
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Kind 0.
    Varint(u64),
    /// Kind 1.
    Fixed64(u64),
    /// Kind 2.
    Bytes(&'a [u8]),
    /// Kind 5.
    Fixed32(u32),
}

/// One field: its number and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// The value of a string, bytes or message field.
    ///
    /// # Errors
    /// It is of another kind.
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Kind(self.number)),
        }
    }

    /// The value of an integer or enum field.
    ///
    /// # Errors
    /// It is of another kind.
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(n) => Ok(n),
            _ => Err(WireError::Kind(self.number)),
        }
    }

    /// The value of a double field.
    ///
    /// # Errors
    /// It is of another kind.
    pub fn double(&self) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::Kind(self.number)),
        }
    }

    /// Hands on every integer of a repeated field, packed or not.
    ///
    /// # Errors
    /// It is of another kind, or truncated.
    #[inline]
    pub fn each_varint(&self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Varint(n) => each(n),
            Value::Bytes(bytes) => each_packed_varint(bytes, each)?,
            _ => return Err(WireError::Kind(self.number)),
        }
        Ok(())
    }

    /// Hands on every double of a repeated field, packed or not.
    ///
    /// # Errors
    /// It is of another kind, or truncated.
    pub fn each_double(&self, mut each: impl FnMut(f64)) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(bits) => each(f64::from_bits(bits)),
            Value::Bytes(bytes) if bytes.len() % 8 == 0 => {
                for chunk in bytes.chunks_exact(8) {
                    each(f64::from_le_bytes(chunk.try_into().expect("chunks have eight bytes")));
                }
            }
            Value::Bytes(bytes) => return Err(WireError::Truncated(bytes.len())),
            _ => return Err(WireError::Kind(self.number)),
        }
        Ok(())
    }
}

/// Hands on every integer of a packed field.
///
/// # Errors
/// It is truncated.
#[inline]
pub fn each_packed_varint(bytes: &[u8], mut each: impl FnMut(u64)) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    while !reader.is_at_end() {
        each(reader.varint()?);
    }
    Ok(())
}

/// A double in field 1 and a varint in field 2, as samples are written: the two
/// and nothing else. `None` where the message is of another shape.
#[inline]
pub fn double_and_varint(message: &[u8]) -> Option<(f64, u64)> {
    const DOUBLE_TAG: u8 = 1 << 3 | 1;
    const VARINT_TAG: u8 = 2 << 3;
    let (head, rest) = message.split_first_chunk::<10>()?;
    if head[0] != DOUBLE_TAG || head[9] != VARINT_TAG {
        return None;
    }
    let number = match sole_varint(rest) {
        Some(number) => number,
        None => {
            let mut reader = Reader::new(rest);
            let number = reader.varint().ok()?;
            reader.is_at_end().then_some(number)?
        }
    };
    let bits: [u8; 8] = head[1..9].try_into().expect("eight of ten bytes");
    Some((f64::from_le_bytes(bits), number))
}

/// The varint that all of four to eight bytes are, as times in ms are: `None`
/// where there are less or more bytes, or one ends before the last.
#[inline]
fn sole_varint(bytes: &[u8]) -> Option<u64> {
    const ENDS: u64 = 0x8080_8080_8080_8080;
    let len @ 4..=8 = bytes.len() else { return None };
    let low = u64::from(u32::from_le_bytes(*bytes.first_chunk()?));
    let high = u64::from(u32::from_le_bytes(*bytes.last_chunk()?));
    let n = low | high << (8 * (len - 4));
    // All but the last go on.
    if n & ENDS != ENDS >> (8 * (9 - len)) {
        return None;
    }
    // Seven bits of each byte, moved together in pairs, fours and eights.
    let n = n & !ENDS;
    let n = n & 0x007f_007f_007f_007f | (n & 0x7f00_7f00_7f00_7f00) >> 1;
    let n = n & 0x0000_3fff_0000_3fff | (n & 0x3fff_0000_3fff_0000) >> 2;
    Some(n & 0x0fff_ffff | (n & 0x0fff_ffff_0000_0000) >> 4)
}

/// The number that a zig-zag integer stands for.
pub fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// The varint of one byte or two at the low end of a word, and its length.
#[inline(always)]
fn short(word: u32) -> Option<(u32, u32)> {
    let second = word >> 7 & 1;
    // Bits 7 to 13, where there is a second byte.
    let high = (word >> 1 & 0x3f80) & second.wrapping_neg();
    (word >> 15 & second == 0).then_some((word & 0x7f | high, 1 + second))
}

/// Walks the fields of a message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a message.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// How many bytes are read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether all is read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next field, `None` at the end.
    ///
    /// # Errors
    /// The bytes are no message.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        match self.is_at_end() {
            true => Ok(None),
            false => self.field().map(Some),
        }
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let at = self.at;
        let tag = self.varint()?;
        // Go's decoders look at 32 of its bits, as a signed number.
        let number = (tag >> 3) as i32;
        if number <= 0 {
            return Err(WireError::Tag { tag, at });
        }
        let number = number as u32;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated(at))?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken"))),
            _ => return Err(WireError::Tag { tag, at }),
        };
        Ok(Field { number, value })
    }

    /// Passes over fields of one kind that stand one behind the other: those of
    /// this tag, which has a length and fits one byte.
    ///
    /// # Errors
    /// One of them reaches beyond the message.
    #[inline]
    pub fn skip_run(&mut self, tag: u8) -> Result<(), WireError> {
        while self.next_of(tag)?.is_some() {}
        Ok(())
    }

    /// The bytes of the next field if it has this tag, which has a length and fits
    /// one byte; else nothing is read.
    ///
    /// # Errors
    /// It reaches beyond the message.
    #[inline]
    pub fn next_of(&mut self, tag: u8) -> Result<Option<&'a [u8]>, WireError> {
        if self.bytes.get(self.at) != Some(&tag) {
            return Ok(None);
        }
        let start = self.at;
        self.at += 1;
        let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated(start))?;
        self.take(len).map(Some)
    }

    /// The bytes of the next field of this tag's number, which must have a length;
    /// what comes before is passed over. `None` at the end.
    ///
    /// # Errors
    /// The bytes are no message, or the field is of another kind.
    #[inline]
    pub fn find_next(&mut self, tag: u8) -> Result<Option<&'a [u8]>, WireError> {
        loop {
            if let Some(bytes) = self.next_of(tag)? {
                return Ok(Some(bytes));
            }
            match self.next_field()? {
                // It is the tag in more bytes than it needs, or of another kind.
                Some(field) if field.number == u32::from(tag >> 3) => return field.bytes().map(Some),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next two varints if each has one byte or two and four bytes are left;
    /// else nothing is read. Both are read without a branch: numbers on both sides
    /// of 128 come in no order that a processor could foresee.
    #[inline(always)]
    pub fn next_two_short(&mut self) -> Option<(u32, u32)> {
        let first = *self.bytes.get(self.at..)?.first_chunk::<4>()?;
        let (a, a_len) = short(u32::from_le_bytes(first))?;
        let (b, b_len) = short(u32::from_le_bytes(first) >> (8 * a_len))?;
        self.at += (a_len + b_len) as usize;
        Some((a, b))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(WireError::Truncated(self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Most numbers have one byte or two.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, WireError> {
        match *self.bytes.get(self.at..).unwrap_or_default() {
            [a, ..] if a < 0x80 => {
                self.at += 1;
                Ok(u64::from(a))
            }
            [a, b, ..] if b < 0x80 => {
                self.at += 2;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(WireError::Truncated(start))?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(WireError::Overflow(start));
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(WireError::Overflow(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_are_read() {
        let bytes =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x19, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x25, 7, 0, 0, 0];
        let mut reader = Reader::new(&bytes);
        let mut fields = Vec::new();
        while let Some(field) = reader.next_field().unwrap() {
            fields.push((field.number, field.value));
        }
        assert_eq!(
            fields,
            [
                (1, Value::Varint(150)),
                (2, Value::Bytes(b"hi")),
                (3, Value::Fixed64(1f64.to_bits())),
                (4, Value::Fixed32(7))
            ]
        );
    }

    #[test]
    fn a_run_of_fields_is_passed_over_as_one_by_one() {
        let long = [&[0x0a, 0x81, 0x01][..], &[b'x'; 129]].concat();
        let bytes = [&[0x0a, 0x02, b'h', b'i', 0x0a, 0x00][..], &long, &[0x12, 0x01, 7]].concat();
        let mut reader = Reader::new(&bytes);
        reader.skip_run(0x0a).unwrap();
        assert_eq!(reader.position(), bytes.len() - 3);
        assert_eq!(reader.next_field().unwrap().unwrap().number, 2);
        assert!(Reader::new(&[0x0a, 0x05, 1]).skip_run(0x0a).is_err());
        assert!(Reader::new(&[0x0a]).skip_run(0x0a).is_err());
    }

    #[test]
    fn a_field_is_found_behind_others_and_under_a_longer_tag() {
        let mut reader = Reader::new(&[0x12, 0x01, 7, 0x0a, 0x01, 8, 0x18, 5, 0x8a, 0x00, 0x01, 9]);
        assert_eq!(reader.find_next(0x0a).unwrap(), Some(&[8][..]));
        assert_eq!(reader.find_next(0x0a).unwrap(), Some(&[9][..]));
        assert_eq!(reader.find_next(0x0a).unwrap(), None);
        assert_eq!(Reader::new(&[0x08, 1]).find_next(0x0a), Err(WireError::Kind(1)));
    }

    #[test]
    fn a_sample_of_the_usual_shape_is_read_at_once() {
        let sample = [&[0x09][..], &1.5f64.to_le_bytes(), &[0x10, 0x96, 0x01]].concat();
        assert_eq!(double_and_varint(&sample), Some((1.5, 150)));
        let longer = [&sample[..], &[0x18, 0x01]].concat();
        for other in [&sample[..10], &sample[9..], &longer, &[][..]] {
            assert_eq!(double_and_varint(other), None, "{other:?}");
        }
        let mut reader = Reader::new(&[0x12, 0x01, 7, 0x0a, 0x00]);
        assert_eq!(reader.next_of(0x12).unwrap(), Some(&[7][..]));
        assert_eq!(reader.next_of(0x12).unwrap(), None);
        assert_eq!(reader.position(), 3);
        assert!(Reader::new(&[0x12, 0x05, 7]).next_of(0x12).is_err());
    }

    #[test]
    fn numbers_read_at_once_are_those_read_byte_by_byte() {
        proptest::proptest!(|(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12))| {
            let mut slow = Reader::new(&bytes);
            let whole = slow.varint().ok().filter(|_| slow.is_at_end());
            if let Some(fast) = sole_varint(&bytes) {
                proptest::prop_assert_eq!(Some(fast), whole);
            } else {
                proptest::prop_assert!(whole.is_none() || !(4..=8).contains(&bytes.len()));
            }
            let (mut fast, mut slow) = (Reader::new(&bytes), Reader::new(&bytes));
            if let Some((a, b)) = fast.next_two_short() {
                proptest::prop_assert_eq!((u64::from(a), u64::from(b)), (slow.varint().unwrap(), slow.varint().unwrap()));
            }
            proptest::prop_assert_eq!(fast.position(), slow.position());
        });
        for n in [1u64 << 21, 1 << 40, 1_764_000_000_000, (1 << 56) - 1] {
            let mut bytes = Vec::new();
            let mut rest = n;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            assert_eq!(sole_varint(&bytes), Some(n));
        }
        assert_eq!(Reader::new(&[5, 0x80, 1, 9]).next_two_short(), Some((5, 128)));
        assert_eq!(Reader::new(&[0xff, 0x7f, 0xff, 0x7f]).next_two_short(), Some((0x3fff, 0x3fff)));
        assert_eq!(Reader::new(&[5, 6, 7]).next_two_short(), None);
    }

    #[test]
    fn any_bytes_end_in_fields_or_an_error() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let mut reader = Reader::new(&bytes);
            let mut fields = 0;
            while let Ok(Some(_)) = reader.next_field() {
                fields += 1;
            }
            proptest::prop_assert!(fields <= bytes.len());
        });
    }

    #[test]
    fn zigzag_alternates_around_zero() {
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }
}
