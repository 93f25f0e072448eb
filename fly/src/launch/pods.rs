//! The steps that only a pod needs: a program without pods does not hold them, since
//! they are reached by what [`Launcher::for_pods`] sets alone.

use super::{Launcher, app, cgroups, devices, names, process};
use crate::{
    error::Error,
    plan::{Record, Step, match_step},
};

impl<'p> Launcher<'p, '_> {
    /// What only a pod needs.
    pub(super) fn pod_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            KeepListening { count } => self.keep_listening(count),
            Stamps { reader, writer } => self.stamps_pipe(reader, writer),
            Terminal {
                devpts,
                master,
                peer,
            } => self.open_terminal(devpts, master, peer),
            HandOver { path, uuid } => Err(self.hand_over(path, uuid)),
            Session { flags } => process::session(flags & Step::NO_TERMINAL != 0),
            TerminalStdio { peer } => self.terminal_stdio(peer),
            PodBounding { keep } => app::bound(keep),
            Console { peer, under, name } => self.console(peer, under, name),
            ExecInit { program, directory, stamps } => Err(self.exec_init(program, directory, stamps)),
            MakeCgroup { flags, mount, path, controllers } => {
                let controllers = if flags & Step::ENABLE != 0 { controllers } else { c"" };
                cgroups::make(mount, path, controllers)
            },
            LimitCgroup { path, value } => cgroups::limit(path, value),
            FilterDevices { flags, list } => devices::filter(flags & Step::ENABLE != 0, list),
            Leaf { path } => cgroups::leaf(path),
            JoinCgroup { path } => cgroups::join(path),
            HostFiles { under, paths } => self.host_files(under, paths),
            Write { under, mode, lines } => self.write(under, mode, lines),
            JoinNetwork { path } => names::join_network(path),
            _ => app::step(record, self.words),
        })
    }
}
