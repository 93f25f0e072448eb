//! catatonit 0.1.7, which podman mounts as podman-init; and its pause mode, which
//! is also Kubernetes' pause.

use core::ffi::CStr;

use fly::{packed, sys::entry::StringsIter, text::Line};

use super::{
    config::{Config, Place, STOPS, Whom, print},
    options::Parser,
};

const TABLE: &str = "g \nh \nL \nP \nV version";

/// Reads options; an error is the exit code.
pub fn configure(
    name: &'static str,
    called: &CStr,
    arguments: StringsIter,
    config: &mut Config,
) -> Result<(), i32> {
    let mut options = Parser::new(arguments, TABLE);
    while let Some(option) = options.next() {
        let (letter, _) = option.map_err(|problem| {
            problem.print(called);
            print(2, packed!(include_str!("catatonit.usage")));
            1
        })?;
        match letter {
            b'g' => config.whom = Whom::Group,
            b'h' => {
                print(
                    2,
                    packed!(concat!(
                        include_str!("catatonit.usage"),
                        include_str!("catatonit.help")
                    )),
                );
                return Err(0);
            }
            b'L' => {
                print(1, packed!(include_str!("catatonit.license")));
                return Err(0);
            }
            // It calls itself tini, for Docker.
            b'V' => {
                print(1, packed!("tini version 0.1.7_catatonit\n"));
                return Err(0);
            }
            _ => config.pause = true,
        }
    }
    config.program = options.operands();
    if config.program.is_empty() && !config.pause {
        Line::new(2)
            .text(name)
            .packed(packed!(": run: no program is named\n"))
            .packed(packed!(include_str!("catatonit.usage")))
            .flush();
        return Err(1);
    }
    config.leave_faults();
    for signal in STOPS {
        config.rewrite(signal, 0);
    }
    config.place = Place::Terminal;
    config.subreaper = true;
    config.listens = true;
    config.lets_go = true;
    Ok(())
}

/// Kubernetes' pause: nothing but reaping, whatever its arguments.
pub fn pause(config: &mut Config) {
    config.pause = true;
    config.subreaper = true;
    config.lets_go = true;
    config.leaves_directory = true;
}
