//! The fuzzer's bytes as a row of choices.

/// Numbers, texts and choices out of bytes; zeros when they run out.
pub(super) struct Choose<'a>(pub(super) &'a [u8]);

impl<'a> Choose<'a> {
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(self.take(N)) {
            *to = *from;
        }
        out
    }

    /// Small ones often: their length in bytes is chosen too.
    pub(super) fn number(&mut self) -> u64 {
        let mut out = [0; 8];
        let len = usize::from(self.byte() % 9);
        for (to, from) in out.iter_mut().zip(self.take(len)) {
            *to = *from;
        }
        u64::from_le_bytes(out)
    }

    /// Short and long ones: lengths of one byte and of more are written by different code.
    pub(super) fn text(&mut self) -> String {
        let len = usize::from(self.byte());
        let repeat = if len == 255 { 100 } else { 1 };
        String::from_utf8_lossy(self.take(len)).repeat(repeat)
    }
}
