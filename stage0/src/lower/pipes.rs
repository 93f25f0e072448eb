//! Pipes from the output of one program to the input of another one.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    plan::Step,
};

use super::{
    Features, Lowering,
    own::{Program, Programs},
};
use crate::options::AppOption;

/// The streams that may be a pipe's beginning, and their bits.
const OUTPUTS: [(u16, AppOption); 2] = [(1 << 1, AppOption::Stdout), (1 << 2, AppOption::Stderr)];

/// The program that `pipe:NAME` names.
fn reader(value: Option<&CStr>) -> Option<&CStr> {
    let bytes = value?.to_bytes_with_nul().strip_prefix(b"pipe:")?;
    CStr::from_bytes_with_nul(bytes).ok()
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// The ends of pipes that are streams of this program.
    pub(super) fn pipes(&mut self, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        let own = &program.policies;
        for (streams, option) in OUTPUTS {
            let value = own.value(option);
            let (Some(value), Some(name)) = (value, reader(value)) else {
                continue;
            };
            let failed = |why| Err(Error::new(What::ReadOption, value, why));
            let mut programs = Programs::of(self.options);
            let index = loop {
                let Some(other) = programs.next()? else {
                    return failed(Why::NoSuchApp);
                };
                let other = other.policies;
                if !other.is_called(name) {
                    continue;
                }
                if other.index() == own.index() {
                    return failed(Why::PipeToItself);
                }
                if other
                    .value(AppOption::Stdin)
                    .is_some_and(|input| input != c"pipe")
                {
                    return failed(Why::OtherInput);
                }
                break other.index();
            };
            let number = index as u64;
            self.plan.push(Step::Pipe {
                streams,
                number,
                app: name,
            });
        }
        let input = own.value(AppOption::Stdin);
        match (self.is_written_to(program)?, input) {
            (true, _) => {
                self.plan.begin_list(Step::Pipe {
                    streams: 1,
                    number: own.index() as u64,
                    app: c"",
                });
                own.join(self.plan, b"");
                self.plan.end();
            }
            (false, Some(value)) if value == c"pipe" => {
                return Err(Error::new(What::ReadOption, c"--stdin=pipe", Why::NoWriter));
            }
            _ => {}
        }
        Ok(())
    }

    fn is_written_to(&self, program: &Program<'a, I>) -> Result<bool, Error<'a>> {
        let mut programs = Programs::of(self.options);
        while let Some(other) = programs.next()? {
            for (_, option) in OUTPUTS {
                let name = reader(other.policies.value(option));
                if name.is_some_and(|name| program.policies.is_called(name)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
