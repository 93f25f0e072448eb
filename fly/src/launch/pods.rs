//! The steps that only a pod needs: a program without pods does not hold them, since
//! they are reached by what [`Launcher::for_pods`] sets alone.

use super::{Launcher, app, cgroups, devices, networks, process};
use crate::{
    error::Error,
    plan::{Kind, Plan, Record, Step, match_step},
};

impl<'p> Launcher<'p, '_> {
    /// What only a pod needs.
    pub(super) fn pod_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            KeepListening { count } => self.keep_listening(count),
            Session { flags } => process::session(flags & Step::NO_TERMINAL != 0),
            PodBounding { keep } => app::bound(keep),
            ExecInit { program, directory, flags, stamps } => {
                Err(self.exec_init(program, directory, flags & Step::HOLD != 0, stamps))
            },
            MakeCgroup { flags, mount, path, controllers } => {
                // Where they are missing the first limit enables them.
                let _ = (flags, controllers);
                cgroups::make(mount, path)
            },
            LimitCgroup { cgroup, path, value } => {
                cgroups::limit(&self.plan, self.filled(cgroup), path, value)
            },
            Leaf { path } => cgroups::leaf(path),
            JoinCgroup { path } => cgroups::join(path),
            JoinPooled { path } => networks::join_pooled(path),
            Keyring {} => process::keyring(),
            HostFiles { under, paths } => self.host_files(under, paths),
            _ => app::step(record, self.words),
        })
    }

    /// The same, and what only few pods need: the steps of [`RARE`].
    pub(super) fn any_pod_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            Stamps { reader, writer } => self.stamps_pipe(reader, writer),
            Terminal { devpts, master, peer } => self.open_terminal(devpts, master, peer),
            TerminalStdio { peer } => self.terminal_stdio(peer),
            Console { peer, under, name } => self.console(peer, under, name),
            HandOver { path, uuid } => Err(self.hand_over(path, uuid)),
            FilterDevices { flags, list } => devices::filter(flags & Step::ENABLE != 0, list),
            Write { under, mode, lines } => self.write(under, mode, lines),
            JoinNetwork { path } => networks::join_network(path),
            OutsideMapper { into, path } => self.outside_mapper(into, path),
            Remount { under, path } => self.remount(under, path),
            TerminalPair { sender, receiver } => self.terminal_pair(sender, receiver),
            OwnTerminal { devpts, peer, sender } => self.own_terminal(devpts, peer, sender),
            OwnOverlay { into, layer, flags, attributes, path } => {
                self.own_overlay(into, layer, flags & Step::MAPPED != 0, attributes, path)
            },
            _ => self.pod_step(record),
        })
    }
}

/// The steps that only a launcher with [`Launcher::for_all_pods`] can do.
const RARE: [Kind; 8] = [
    Kind::Stamps,
    // With whatever a terminal needs, but for those of user namespaces.
    Kind::Terminal,
    Kind::HandOver,
    Kind::FilterDevices,
    Kind::Write,
    Kind::JoinNetwork,
    Kind::Remount,
    // With every user namespace.
    Kind::Maps,
];

/// Whether a plan has one of them.
#[must_use]
pub fn is_rare(plan: &Plan<'_>) -> bool {
    let mut records = plan.steps().records();
    records.any(|record| RARE.iter().any(|kind| record.is(*kind)))
}
