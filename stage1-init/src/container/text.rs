//! Texts with gaps: what all modes say, in few bytes.

use fly::{error::describe, packed::Packed, text::Line};

/// What goes into the gaps of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps<'a> {
    /// `~`: how the program was called.
    pub called: &'a [u8],
    /// `^`: what it is about.
    pub object: &'a [u8],
    /// `{`: a number; `#`: its meaning as an error number.
    pub first: u32,
    /// `}`: another number.
    pub second: u32,
    /// Whether it is docker-init, which tells its commit in place of `$`.
    pub is_docker: bool,
}

/// Writes `texts` to descriptor `to`.
#[cold]
#[inline(never)]
pub fn write(to: i32, texts: &[Packed], gaps: &Gaps<'_>) {
    let mut line = Line::new(to);
    for text in texts {
        let mut rest = text.0;
        while let [first, after @ ..] = rest {
            match first {
                b'~' => line.bytes(gaps.called),
                b'^' => line.bytes(gaps.object),
                b'{' => line.number(gaps.first.into()),
                b'}' => line.number(gaps.second.into()),
                b'#' => line.packed(describe(u16::try_from(gaps.first).unwrap_or(0))),
                // What Docker builds it from, and looks for.
                b'$' if gaps.is_docker => line.bytes(b" - git.de40ad0"),
                b'$' => &mut line,
                _ => line.packed(Packed(rest.get(..1).unwrap_or_default())),
            };
            rest = after;
        }
    }
    line.flush();
}
