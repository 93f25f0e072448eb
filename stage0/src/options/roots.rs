//! The roots of programs: what stands in the place of ROOT.

use core::ffi::CStr;

use fly::error::{Error, What, Why};

use super::{AppOption, Choice, Choices, Options, Stage1};

/// What images are called, which nobody can fetch yet. A program of such a name
/// stands behind `--`.
const IMAGES: [&[u8]; 8] = [
    b"docker:",
    b"docker-archive:",
    b"oci:",
    b"oci-archive:",
    b"aci:",
    b"https:",
    b"http:",
    b"file:",
];

/// Takes the root that is named next, if one is; its path. Where all programs have a
/// root already (`has_one`) only `dir:PATH` names another one, otherwise each word
/// that is no option does.
///
/// # Errors
/// A word that names no root.
#[inline(never)]
pub fn root<'a, I>(choices: &mut Choices<I>, has_one: bool) -> Result<Option<&'a CStr>, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut words = choices.words();
    let Some(word) = words.next() else {
        return Ok(None);
    };
    let bytes = word.to_bytes();
    let failed = |why| Err(Error::new(What::ReadRoot, word, why));
    let path = match word.to_bytes_with_nul().strip_prefix(b"dir:") {
        Some([0]) => return failed(Why::Empty),
        Some(path) => CStr::from_bytes_with_nul(path).unwrap_or_default(),
        None if matches!(bytes, b"--" | b"---") => return Ok(None),
        None if IMAGES.iter().any(|image| bytes.starts_with(image)) => {
            return failed(Why::NoImages);
        }
        None if has_one => return Ok(None),
        None if bytes.contains(&b'/') => word,
        None => return failed(Why::NoRootNamed),
    };
    *choices = Choices::new(words);
    Ok(Some(path))
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Looks which roots there are. A root of the only program is the pod's, and its
    /// options are, too.
    pub(super) fn find_roots(&mut self) -> Result<(), Error<'a>> {
        if self.programs.clone().any(|word| word == c"---") {
            let (several, rare) = self.has_several()?;
            self.several = several;
            self.rare |= rare;
            return Ok(());
        }
        let mut choices = Choices::new(self.programs.clone());
        let Some(root) = root(&mut choices, self.has_default)? else {
            return Ok(());
        };
        self.rootfs = root;
        self.own = Some(choices.clone());
        while let Some(choice) = choices.take()? {
            match choice {
                Choice::ReadOnlyRoot(yes) => self.read_only_root = yes,
                Choice::Ephemeral(yes) => self.ephemeral = yes,
                Choice::App(option, value) => self.note(option, value),
                _ => {}
            }
        }
        Ok(())
    }

    /// A program has this option.
    pub(super) fn note(&mut self, option: AppOption, value: &CStr) {
        self.app_options = true;
        self.rare |= option.is_rare(value);
    }

    /// Whether one of several programs has a root, or something in it, for itself; and
    /// whether one has what few have.
    #[cold]
    #[inline(never)]
    fn has_several(&self) -> Result<(bool, bool), Error<'a>> {
        let mut words = self.programs.clone();
        let (mut several, mut rare) = (false, false);
        loop {
            let mut choices = Choices::new(words.clone());
            several |= root(&mut choices, self.has_default)?.is_some();
            while let Some(choice) = choices.take()? {
                several |= choice.is_of_a_root();
                rare |= matches!(choice, Choice::App(option, value) if option.is_rare(value));
            }
            words = choices.words();
            if words.by_ref().all(|word| word != c"---") {
                return Ok((several, rare));
            }
        }
    }

    /// What only one root for all has.
    pub(super) fn check_several(&self) -> Result<(), Error<'a>> {
        let failed = |option, why| Err(Error::new(What::ReadOption, option, why));
        match self.stage1 {
            _ if !self.several => Ok(()),
            // Of the flavour fly there is one program.
            Stage1::Other(_) => failed(c"a root of its own", Why::OnlyInit),
            _ if self.status_directory.is_some() => failed(c"--status-dir", Why::OwnRoots),
            _ => Ok(()),
        }
    }
}
