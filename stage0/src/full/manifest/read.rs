//! Values of a manifest: each one is there, of its type and in its range, or the path
//! and the byte of what is wrong are known.

use fly::json::{self, Fault, Reader, Text};

use super::{
    Beside, MAX_ITEMS,
    filter::Filter,
    names::Names,
    path::{Part, Path},
    words::Arena,
};

/// What is wrong with a value, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) text: &'static str,
}

pub(super) type Read<T> = Result<T, Wrong>;

/// What is at a value that may be missing: a reader that stands before it.
pub(super) type Field<'a> = Option<Reader<'a>>;

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self {
            at: fault.at,
            text: fault.wrong.text(),
        }
    }
}

pub(super) fn wrong<T>(at: usize, text: &'static str) -> Read<T> {
    Err(Wrong { at, text })
}

/// What of the command line is made: a manifest is read twice, since options of the pod
/// come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// What is the pod's.
    Pod,
    /// The programs.
    Apps,
}

/// A manifest that is being read.
pub(super) struct Manifest<'a, 'm, 'w> {
    pub(super) path: Path<'a>,
    pub(super) pass: Pass,
    pub(super) arena: &'m mut Arena<'w>,
    pub(super) beside: Beside,
    pub(super) filters: &'m mut dyn FnMut(&Filter<'a>) -> Option<u64>,
}

impl<'a, 'w> Manifest<'a, '_, 'w> {
    /// Where the words of this pass go, if it is this one.
    pub(super) fn in_pass(&mut self, pass: Pass) -> Option<&mut Arena<'w>> {
        (self.pass == pass).then_some(&mut *self.arena)
    }

    /// Does something at a part of the path; if that fails the path stays there.
    pub(super) fn at<T>(
        &mut self,
        part: Part<'a>,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<T> {
        self.path.push(part);
        let done = read(self)?;
        self.path.pop();
        Ok(done)
    }

    /// Reads an object that has no other names than these, and none twice; `null` is as
    /// if the name were not there.
    pub(super) fn object<const N: usize>(
        &mut self,
        reader: &mut Reader<'a>,
        names: &[&'static str; N],
    ) -> Read<[Field<'a>; N]> {
        let mut values = [None; N];
        let mut seen = 0_u32;
        self.each_field(reader, names, &mut seen, &mut values)?;
        Ok(values)
    }

    /// One function for all numbers of names.
    fn each_field(
        &mut self,
        reader: &mut Reader<'a>,
        names: &[&'static str],
        seen: &mut u32,
        values: &mut [Field<'a>],
    ) -> Read<()> {
        reader.object(&mut |reader, name| {
            let Some(index) = names.iter().position(|known| name.is(known)) else {
                self.path.push(Part::Unknown(name));
                return wrong(name.at, "there is no such field");
            };
            let field = names.get(index).copied().unwrap_or_default();
            self.at(Part::Field(field), |_| {
                if *seen & 1 << index != 0 {
                    return wrong(name.at, "it is there twice");
                }
                *seen |= 1 << index;
                if reader.null() {
                    return Ok(());
                }
                if let Some(place) = values.get_mut(index) {
                    *place = Some(*reader);
                }
                Ok(reader.skip()?)
            })
        })
    }

    /// Reads a value that may be missing.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        field: Field<'a>,
        read: impl FnOnce(&mut Self, &mut Reader<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        match field {
            None => Ok(None),
            Some(mut reader) => self
                .at(Part::Field(name), |manifest| read(manifest, &mut reader))
                .map(Some),
        }
    }

    /// Reads a value that may not be missing of an object, which begins at `at`.
    pub(super) fn required<T>(
        &mut self,
        at: usize,
        name: &'static str,
        field: Field<'a>,
        read: impl FnOnce(&mut Self, &mut Reader<'a>) -> Read<T>,
    ) -> Read<T> {
        self.at(Part::Field(name), |manifest| match field {
            Some(mut reader) => read(manifest, &mut reader),
            None => wrong(at, "it is missing"),
        })
    }

    /// A string that may not be missing, as `read` checks it.
    #[inline(never)]
    pub(super) fn text_of(
        &mut self,
        at: usize,
        name: &'static str,
        field: Field<'a>,
        read: fn(&mut Reader<'a>) -> Read<Text<'a>>,
    ) -> Read<Text<'a>> {
        self.required(at, name, field, |_, reader| read(reader))
    }

    /// The same if it may be missing.
    #[inline(never)]
    pub(super) fn text_if(
        &mut self,
        name: &'static str,
        field: Field<'a>,
        read: fn(&mut Reader<'a>) -> Read<Text<'a>>,
    ) -> Read<Option<Text<'a>>> {
        self.optional(name, field, |_, reader| read(reader))
    }

    /// Whether it is true; `None` if it is missing.
    #[inline(never)]
    pub(super) fn flag_if(&mut self, name: &'static str, field: Field<'a>) -> Read<Option<bool>> {
        self.optional(name, field, |_, reader| boolean(reader))
    }

    /// A number that may be missing.
    #[inline(never)]
    pub(super) fn number_if(
        &mut self,
        name: &'static str,
        field: Field<'a>,
        read: fn(&mut Reader<'a>) -> Read<u64>,
    ) -> Read<Option<u64>> {
        self.optional(name, field, |_, reader| read(reader))
    }

    /// It can't be there.
    #[inline(never)]
    pub(super) fn missing(
        &mut self,
        name: &'static str,
        field: Field<'a>,
        text: &'static str,
    ) -> Read<()> {
        match field {
            Some(reader) => self.refuse(name, reader.at(), text),
            None => Ok(()),
        }
    }

    /// What is wrong with the value of a field that was read already.
    #[inline(never)]
    pub(super) fn refuse<T>(
        &mut self,
        name: &'static str,
        at: usize,
        text: &'static str,
    ) -> Read<T> {
        self.at(Part::Field(name), |_| wrong(at, text))
    }

    /// Reads an array; tells how many there were.
    pub(super) fn list(
        &mut self,
        reader: &mut Reader<'a>,
        each: &mut dyn FnMut(&mut Self, usize, &mut Reader<'a>) -> Read<()>,
    ) -> Read<usize> {
        let mut count = 0;
        reader.array(&mut |reader| {
            self.at(Part::Index(count), |manifest| {
                if count >= MAX_ITEMS {
                    return wrong(reader.at(), "there may be 1024 of them");
                }
                each(manifest, count, reader)
            })?;
            count += 1;
            Ok::<(), Wrong>(())
        })?;
        Ok(count)
    }

    /// Reads a list that may be missing.
    pub(super) fn items(
        &mut self,
        name: &'static str,
        field: Field<'a>,
        each: &mut dyn FnMut(&mut Self, usize, &mut Reader<'a>) -> Read<()>,
    ) -> Read<usize> {
        let count = self.optional(name, field, |manifest, reader| manifest.list(reader, each))?;
        Ok(count.unwrap_or(0))
    }

    /// The name of one of several things, in its field `name`, is no other one's.
    #[inline(never)]
    pub(super) fn unique(
        &mut self,
        names: &mut Names<'a>,
        name: Text<'a>,
        otherwise: &'static str,
    ) -> Read<()> {
        if names.add(name) {
            Ok(())
        } else {
            self.refuse("name", name.at, otherwise)
        }
    }

    /// Reads annotations, of which nothing is used but that they are right.
    #[inline(never)]
    pub(super) fn pairs(&mut self, name: &'static str, field: Field<'a>) -> Read<()> {
        // The place for names is large.
        if field.is_none() {
            return Ok(());
        }
        let mut names = Names::new();
        self.items(name, field, &mut |manifest, _, reader| {
            let at = reader.at();
            let [name, value] = manifest.object(reader, &["name", "value"])?;
            let name = manifest.text_of(at, "name", name, identifier)?;
            manifest.unique(&mut names, name, "two annotations have this name")?;
            manifest.text_of(at, "value", value, text)?;
            Ok(())
        })
        .map(drop)
    }

    /// Reads an object of strings, of which nothing is used.
    #[inline(never)]
    pub(super) fn strings(&mut self, name: &'static str, field: Field<'a>) -> Read<()> {
        if field.is_none() {
            return Ok(());
        }
        let mut names = Names::new();
        self.optional(name, field, |manifest, reader| {
            let mut count = 0;
            reader.object(&mut |reader, name| {
                manifest.at(Part::Unknown(name), |_| {
                    count += 1;
                    if count > MAX_ITEMS {
                        return wrong(name.at, "there may be 1024 of them");
                    }
                    check(name)?;
                    if !names.add(name) {
                        return wrong(name.at, "it is there twice");
                    }
                    if reader.null() {
                        return Ok(());
                    }
                    text(reader).map(drop)
                })
            })
        })
        .map(drop)
    }
}

/// Reads a string: without a zero byte, which no word of a command line can have.
pub(super) fn text<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let text = reader.string()?;
    check(text)?;
    Ok(text)
}

fn check(text: Text<'_>) -> Read<()> {
    for character in text.characters() {
        if character? == '\0' {
            return wrong(text.at, "it has a zero byte");
        }
    }
    Ok(())
}

/// A string that is not empty.
pub(super) fn filled<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let text = text(reader)?;
    if text.raw.is_empty() {
        return wrong(text.at, "it is empty");
    }
    Ok(text)
}

/// An absolute path.
pub(super) fn path<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let text = filled(reader)?;
    if text.characters().next() != Some(Ok('/')) {
        return wrong(text.at, "it is not absolute");
    }
    Ok(text)
}

/// A path that is part of a word whose parts are separated by commas.
pub(super) fn path_in_list<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    let text = path(reader)?;
    if text.characters().any(|character| character == Ok(',')) {
        return wrong(text.at, "it has a comma, which can't be mounted");
    }
    Ok(text)
}

/// An appc name: small letters and digits, in groups between single hyphens.
pub(super) fn name<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    named(
        reader,
        b"-",
        "a name has small letters and digits, and single hyphens between them",
    )
}

/// An appc identifier: the same with more separators.
pub(super) fn identifier<'a>(reader: &mut Reader<'a>) -> Read<Text<'a>> {
    named(
        reader,
        b"-._~/",
        "an identifier has small letters and digits, and single -._~/ between them",
    )
}

fn named<'a>(
    reader: &mut Reader<'a>,
    separators: &[u8],
    otherwise: &'static str,
) -> Read<Text<'a>> {
    let name = filled(reader)?;
    let mut separated = true;
    for character in name.characters().flatten() {
        let mut separates = separators.iter().map(|byte| char::from(*byte));
        let separates = separates.any(|separator| separator == character);
        let is_good = matches!(character, 'a'..='z' | '0'..='9') || (separates && !separated);
        if !is_good {
            return wrong(name.at, otherwise);
        }
        separated = separates;
    }
    if separated {
        return wrong(name.at, otherwise);
    }
    if name.characters().count() > 255 {
        return wrong(name.at, "a name has at most 255 bytes");
    }
    Ok(name)
}

pub(super) fn boolean(reader: &mut Reader<'_>) -> Read<bool> {
    Ok(reader.boolean()?)
}

/// A number of any kind as it is written, in digits.
pub(super) fn literal<'a>(reader: &mut Reader<'a>, otherwise: &'static str) -> Read<&'a [u8]> {
    reader.literal().map_err(|fault| match fault.wrong {
        // The text of a fault is that of whole numbers of 64 bits.
        json::Wrong::NoNumber => Wrong {
            at: fault.at,
            text: otherwise,
        },
        _ => fault.into(),
    })
}

/// A whole number in a range, in digits alone.
pub(super) fn number(
    reader: &mut Reader<'_>,
    range: core::ops::RangeInclusive<u64>,
    otherwise: &'static str,
) -> Read<u64> {
    let at = reader.at();
    let number = fly::text::decimal(literal(reader, otherwise)?);
    match number.filter(|number| range.contains(number)) {
        Some(number) => Ok(number),
        None => wrong(at, otherwise),
    }
}

/// What a text stands for, as bytes, if it is short.
pub(super) fn short<'b>(text: Text<'_>, room: &'b mut [u8; 64]) -> Option<&'b [u8]> {
    let mut used = 0;
    for character in text.characters().flatten() {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        fly::text::copy(room.get_mut(used..used + bytes.len())?, bytes);
        used += bytes.len();
    }
    room.get(..used)
}
