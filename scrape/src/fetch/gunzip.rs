//! A gzip body unpacked as it comes, straight into the page, with upstream's
//! errors.
//!
//! ```text
//! 10 bytes, [extra] [name] [comment] [crc16] │ deflate … │ crc32, length │ next member …
//! ```

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::FetchError;
use super::page::Page;

const FIXED_HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
/// A name or comment in a header may be so long, as upstream has it.
const TEXT_BYTES_MAX: usize = 512;
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;

/// Unpacks one body after the other; what it needs for that is kept.
pub(super) struct Gunzip {
    inflate: Decompress,
    crc: Crc,
    at: At,
    /// Bytes of a header or trailer that is not complete yet.
    pending: Vec<u8>,
    /// Members of this body that ended.
    members: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Header,
    Body,
    Trailer,
}

impl Gunzip {
    pub(super) fn new() -> Gunzip {
        Gunzip {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            at: At::Header,
            pending: Vec::new(),
            members: 0,
        }
    }

    /// Forgets the last body.
    pub(super) fn begin(&mut self) {
        self.begin_member();
        self.members = 0;
    }

    fn begin_member(&mut self) {
        self.inflate.reset(false);
        self.crc.reset();
        self.at = At::Header;
        self.pending.clear();
    }

    /// Takes the next bytes of a body.
    pub(super) fn push(&mut self, mut input: &[u8], page: &mut Page) -> Result<(), FetchError> {
        while !input.is_empty() {
            match self.at {
                At::Header => self.header(&mut input)?,
                At::Body => self.body(&mut input, page)?,
                At::Trailer => self.trailer(&mut input)?,
            }
        }
        Ok(())
    }

    /// The body has ended.
    pub(super) fn finish(&self) -> Result<(), FetchError> {
        match (self.at, self.pending.is_empty(), self.members) {
            (At::Header, true, 0) => Err(FetchError::GzipEmpty),
            (At::Header, true, _) => Ok(()),
            _ => Err(net::BodyError::Cut.into()),
        }
    }

    fn header(&mut self, input: &mut &[u8]) -> Result<(), FetchError> {
        let before = self.pending.len();
        self.pending.extend_from_slice(input);
        if let Some(len) = header_len(&self.pending)? {
            *input = &input[len - before..];
            self.pending.clear();
            self.at = At::Body;
        } else {
            *input = &[];
        }
        Ok(())
    }

    fn body(&mut self, input: &mut &[u8], page: &mut Page) -> Result<(), FetchError> {
        page.make_room(1)?;
        let bytes = page.bytes_mut();
        let (written, read) = (bytes.len(), self.inflate.total_in());
        let status = self.inflate.decompress_vec(input, bytes, FlushDecompress::None);
        self.crc.update(&bytes[written..]);
        let bytes_after = bytes.len();
        *input = &input[(self.inflate.total_in() - read) as usize..];
        page.check_limit()?;
        let moved = bytes_after != written || self.inflate.total_in() != read;
        match status {
            Ok(Status::StreamEnd) => self.at = At::Trailer,
            Ok(_) if moved => {}
            _ => return Err(FetchError::Deflate { offset: self.inflate.total_in() }),
        }
        Ok(())
    }

    fn trailer(&mut self, input: &mut &[u8]) -> Result<(), FetchError> {
        let wanted = (TRAILER_BYTES - self.pending.len()).min(input.len());
        let (own, rest) = input.split_at(wanted);
        self.pending.extend_from_slice(own);
        *input = rest;
        if self.pending.len() < TRAILER_BYTES {
            return Ok(());
        }
        let expected = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        if self.pending != expected {
            return Err(FetchError::GzipChecksum);
        }
        self.members += 1;
        self.begin_member();
        Ok(())
    }
}

/// The length of the header that `bytes` begin with, `None` where more bytes
/// must tell. Nothing is said before the fixed part is there.
fn header_len(bytes: &[u8]) -> Result<Option<usize>, FetchError> {
    if bytes.len() < FIXED_HEADER_BYTES {
        return Ok(None);
    }
    let flags = bytes[3];
    if !bytes.starts_with(&[0x1f, 0x8b, 8]) {
        return Err(FetchError::GzipHeader);
    }
    let mut len = FIXED_HEADER_BYTES;
    if flags & EXTRA != 0 {
        let Some(&[low, high]) = bytes.get(len..len + 2) else { return Ok(None) };
        len += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [NAME, COMMENT] {
        if flags & text == 0 {
            continue;
        }
        let rest = bytes.get(len..).unwrap_or(&[]);
        match memchr::memchr(0, rest) {
            Some(end) if end < TEXT_BYTES_MAX => len += end + 1,
            None if rest.len() < TEXT_BYTES_MAX => return Ok(None),
            _ => return Err(FetchError::GzipHeader),
        }
    }
    let crc_at = len;
    if flags & HEADER_CRC != 0 {
        len += 2;
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    if flags & HEADER_CRC != 0 {
        let mut crc = Crc::new();
        crc.update(&header[..crc_at]);
        if header[crc_at..] != (crc.sum() as u16).to_le_bytes() {
            return Err(FetchError::GzipHeader);
        }
    }
    Ok(Some(len))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use model::memory::Accountant;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(gunzip: &mut Gunzip, body: &[u8], step: usize, limit: u64) -> Result<Vec<u8>, String> {
        let mut page = Page::new(Vec::new(), limit, &Accountant::unlimited());
        gunzip.begin();
        for part in body.chunks(step) {
            gunzip.push(part, &mut page).map_err(|error| error.to_string())?;
        }
        gunzip.finish().map_err(|error| error.to_string())?;
        Ok(page.into_bytes())
    }

    #[test]
    fn bodies_unpack_however_they_are_cut() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|i| (i % 251).to_string().into_bytes()).collect();
        let named = {
            let mut encoder = GzBuilder::new()
                .filename("page.txt")
                .comment("a page")
                .extra(vec![7; 300])
                .write(Vec::new(), Compression::fast());
            encoder.write_all(b"named").unwrap();
            encoder.finish().unwrap()
        };
        let body = [packed(&text), packed(b""), named].concat();
        let expected = [text.as_slice(), b"named"].concat();
        let mut gunzip = Gunzip::new();
        for step in [1, 7, 1000, body.len()] {
            assert!(unpack(&mut gunzip, &body, step, 0).unwrap() == expected, "in steps of {step}");
        }
    }

    #[test]
    fn damage_is_named() {
        let mut gunzip = Gunzip::new();
        let good = packed(&b"a 1\n".repeat(10_000));
        let mut changed = good.clone();
        let at = changed.len() - 8;
        changed[at] ^= 1;
        let mut no_deflate = good[..10].to_vec();
        no_deflate.extend([0xff; 20]);
        let trailing = [good.as_slice(), b"not another one"].concat();
        for (body, error) in [
            (Vec::new(), "EOF"),
            (b"a 1\n".to_vec(), "unexpected EOF"),
            (b"a 1\na 1\na 1\n".to_vec(), "gzip: invalid header"),
            (good[..9].to_vec(), "unexpected EOF"),
            (good[..40].to_vec(), "unexpected EOF"),
            (good[..good.len() - 1].to_vec(), "unexpected EOF"),
            (changed, "gzip: invalid checksum"),
            (trailing, "gzip: invalid header"),
        ] {
            for step in [1, body.len().max(1)] {
                assert_eq!(unpack(&mut gunzip, &body, step, 0), Err(error.to_owned()));
            }
        }
        let error = unpack(&mut gunzip, &no_deflate, 1, 0).unwrap_err();
        assert!(error.starts_with("flate: corrupt input before offset "), "{error}");
        assert_eq!(unpack(&mut gunzip, &good, 100, 40_000), Err("body size limit exceeded".to_owned()));
        assert_eq!(unpack(&mut gunzip, &good, 100, 40_001).unwrap().len(), 40_000);
    }
}
