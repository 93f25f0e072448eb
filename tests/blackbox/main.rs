//! The black-box tests: our programs as a user starts them.
//!
//! Each module tests one subject and ends in a table of its tests; the groups
//! that are marked so run a second time in a guest with Linux 6.1.

use kickstage_tests::{Group, Test, requirement::Requirement, runner};

mod ace;
mod added;
mod added_logs;
mod attach;
mod attach_pods;
mod bad_roots;
mod calls;
mod cgroup;
mod ci_page;
mod command_line;
mod completion;
mod completion_pods;
mod config;
mod confinement;
mod control;
mod control_attacks;
mod control_orders;
mod debian;
mod detach;
mod devices;
mod dns_hosts;
mod enter;
mod enter_stopped;
mod enter_terminal;
mod environment;
mod exec;
mod exit_codes;
mod export;
mod faults;
mod fly;
mod fly_capabilities;
mod fly_check;
mod fly_confine;
mod fly_environment;
mod fly_files;
mod fly_kernel_files;
mod fly_landlock;
mod fly_layers;
mod fly_limits;
mod fly_mapped;
mod fly_namespaces;
mod fly_process;
mod fly_rootless;
mod fly_sources;
mod fly_status;
mod fly_volumes;
mod guest;
mod hostile_images;
mod inherited;
mod init_catatonit;
mod init_dumb_init;
mod init_load;
mod init_own;
mod init_tini;
mod kills;
mod leaks;
mod library;
mod limit_delegation;
mod limit_devices;
mod limit_disks;
mod limits;
mod limits_errors;
mod limits_real_time;
mod logs;
mod machine;
mod machine_devices;
mod machine_pods;
mod machine_root;
mod many_pods;
mod mount_links;
mod mount_namespace;
mod namespaces;
mod nested;
mod networks;
mod networks_pool;
mod networks_pool_kills;
mod parked;
mod plan;
mod pod_directories;
mod pod_manifest;
mod pod_manifest_errors;
mod pods;
mod pods_found;
mod pods_logs;
mod pods_order;
mod pods_own;
mod pods_pass;
mod pods_pids;
mod pods_pipes;
mod pods_restart;
mod pods_status;
mod pods_stdio;
mod pools;
mod prepare;
mod private_ids;
mod private_users;
mod processes;
mod races;
mod rm_gc;
mod rm_gc_left;
mod root;
mod rootless_pods;
mod roots;
mod roots_mounts;
mod seccomp;
mod seccomp_errors;
mod seccomp_profiles;
mod security;
mod service_managers;
mod shared_init;
mod signals;
mod stage1;
mod starts;
mod state_directory;
mod states_kills;
mod status_list;
mod status_wait;
mod stdio;
mod stop;
mod targets;
mod terminal;
mod terminal_relay;
mod timeouts;
mod timings;
mod understudy;
mod user;
mod volumes;
mod warm;
mod warm_ends;
mod warm_pools;

/// A group whose tests start something, so that they run in the guest too.
const fn start(name: &'static str, tests: &'static [Test]) -> Group {
    Group {
        name,
        in_guest: true,
        limit: 60,
        needs: &[],
        tests,
    }
}

/// A group that only this machine's kernel sees.
const fn host(
    name: &'static str,
    limit: u64,
    needs: &'static [Requirement],
    tests: &'static [Test],
) -> Group {
    Group {
        name,
        in_guest: false,
        limit,
        needs,
        tests,
    }
}

/// The longest ones first, so that they share the time with all others.
const SUITE: runner::Suite = runner::Suite {
    groups: &[
        host("guest", 1600, &[Requirement::Guest], guest::TESTS),
        host("machine", 120, &[Requirement::Guest], machine::TESTS),
        host(
            "machine_pods",
            120,
            &[Requirement::Guest],
            machine_pods::TESTS,
        ),
        host(
            "machine_root",
            120,
            &[Requirement::Guest],
            machine_root::TESTS,
        ),
        host(
            "machine_devices",
            120,
            &[Requirement::Guest],
            machine_devices::TESTS,
        ),
        host("leaks", 120, &[], leaks::TESTS),
        host("races", 240, &[], races::TESTS),
        host("states_kills", 240, &[], states_kills::TESTS),
        host("kills", 240, &[], kills::TESTS),
        host("calls", 240, &[], calls::TESTS),
        host("debian", 60, &[Requirement::DebianRoot], debian::TESTS),
        host("service_managers", 60, &[], service_managers::TESTS),
        host("control_attacks", 120, &[], control_attacks::TESTS),
        host("control", 60, &[], control::TESTS),
        host("enter", 120, &[], enter::TESTS),
        host("added", 60, &[], added::TESTS),
        host("added_logs", 60, &[], added_logs::TESTS),
        host("enter_stopped", 60, &[], enter_stopped::TESTS),
        host("enter_terminal", 60, &[], enter_terminal::TESTS),
        host("parked", 60, &[], parked::TESTS),
        host("pod_directories", 60, &[], pod_directories::TESTS),
        host("warm", 60, &[], warm::TESTS),
        host("warm_ends", 60, &[], warm_ends::TESTS),
        host("warm_pools", 60, &[], warm_pools::TESTS),
        host("pools", 60, &[], pools::TESTS),
        host("understudy", 60, &[], understudy::TESTS),
        host("control_orders", 60, &[], control_orders::TESTS),
        host("cgroup", 60, &[], cgroup::TESTS),
        host("plan", 60, &[], plan::TESTS),
        host("library", 60, &[], library::TESTS),
        host("ci_page", 60, &[], ci_page::TESTS),
        host("completion", 60, &[], completion::TESTS),
        host("completion_pods", 60, &[], completion_pods::TESTS),
        host("export", 60, &[], export::TESTS),
        host("stop", 60, &[], stop::TESTS),
        host("rm_gc", 60, &[], rm_gc::TESTS),
        host("rm_gc_left", 60, &[], rm_gc_left::TESTS),
        host("status_list", 60, &[], status_list::TESTS),
        host("pods_found", 60, &[], pods_found::TESTS),
        host("status_wait", 60, &[], status_wait::TESTS),
        host("state_directory", 60, &[], state_directory::TESTS),
        host("prepare", 60, &[], prepare::TESTS),
        host("detach", 60, &[], detach::TESTS),
        host("timeouts", 60, &[], timeouts::TESTS),
        host("starts", 120, &[], starts::TESTS),
        host("many_pods", 120, &[], many_pods::TESTS),
        start("limits", limits::TESTS),
        start("limits_errors", limits_errors::TESTS),
        host("limits_real_time", 60, &[], limits_real_time::TESTS),
        start("limit_devices", limit_devices::TESTS),
        start("limit_disks", limit_disks::TESTS),
        start("limit_delegation", limit_delegation::TESTS),
        start("exit_codes", exit_codes::TESTS),
        start("exec", exec::TESTS),
        start("stdio", stdio::TESTS),
        start("signals", signals::TESTS),
        start("processes", processes::TESTS),
        host("environment", 60, &[], environment::TESTS),
        start("user", user::TESTS),
        start("volumes", volumes::TESTS),
        start("targets", targets::TESTS),
        start("namespaces", namespaces::TESTS),
        host("networks", 60, &[], networks::TESTS),
        host("mount_namespace", 60, &[], mount_namespace::TESTS),
        host("shared_init", 60, &[], shared_init::TESTS),
        host("networks_pool", 60, &[], networks_pool::TESTS),
        host("networks_pool_kills", 120, &[], networks_pool_kills::TESTS),
        host("dns_hosts", 60, &[], dns_hosts::TESTS),
        start("devices", devices::TESTS),
        start("confinement", confinement::TESTS),
        start("root", root::TESTS),
        start("roots", roots::TESTS),
        start("roots_mounts", roots_mounts::TESTS),
        start("ace", ace::TESTS),
        start("terminal", terminal::TESTS),
        host("inherited", 60, &[], inherited::TESTS),
        host("terminal_relay", 60, &[], terminal_relay::TESTS),
        start("stage1", stage1::TESTS),
        host("pod_manifest", 60, &[], pod_manifest::TESTS),
        host("pod_manifest_errors", 60, &[], pod_manifest_errors::TESTS),
        host("pods", 60, &[], pods::TESTS),
        host("config", 60, &[], config::TESTS),
        host("attach", 60, &[], attach::TESTS),
        host("attach_pods", 60, &[], attach_pods::TESTS),
        host("logs", 60, &[], logs::TESTS),
        host("pods_logs", 60, &[], pods_logs::TESTS),
        host("pods_order", 60, &[], pods_order::TESTS),
        host("pods_own", 60, &[], pods_own::TESTS),
        host("pods_pass", 60, &[], pods_pass::TESTS),
        start("pods_pids", pods_pids::TESTS),
        host("pods_pipes", 60, &[], pods_pipes::TESTS),
        host("pods_restart", 60, &[], pods_restart::TESTS),
        host("pods_status", 60, &[], pods_status::TESTS),
        host("pods_stdio", 60, &[], pods_stdio::TESTS),
        host("private_ids", 60, &[], private_ids::TESTS),
        host("private_users", 60, &[], private_users::TESTS),
        start("rootless_pods", rootless_pods::TESTS),
        host("nested", 60, &[], nested::TESTS),
        start("fly", fly::TESTS),
        host("fly_check", 60, &[], fly_check::TESTS),
        start("fly_namespaces", fly_namespaces::TESTS),
        host("fly_status", 60, &[], fly_status::TESTS),
        start("fly_rootless", fly_rootless::TESTS),
        start("fly_confine", fly_confine::TESTS),
        host("fly_mapped", 60, &[], fly_mapped::TESTS),
        start("fly_process", fly_process::TESTS),
        start("fly_limits", fly_limits::TESTS),
        start("fly_capabilities", fly_capabilities::TESTS),
        host("fly_landlock", 60, &[], fly_landlock::TESTS),
        host("fly_environment", 60, &[], fly_environment::TESTS),
        start("fly_files", fly_files::TESTS),
        start("fly_kernel_files", fly_kernel_files::TESTS),
        start("fly_layers", fly_layers::TESTS),
        start("fly_sources", fly_sources::TESTS),
        start("seccomp", seccomp::TESTS),
        host("seccomp_errors", 60, &[], seccomp_errors::TESTS),
        host("seccomp_profiles", 60, &[], seccomp_profiles::TESTS),
        start("mount_links", mount_links::TESTS),
        start("fly_volumes", fly_volumes::TESTS),
        host("init_tini", 60, &[], init_tini::TESTS),
        host("init_dumb_init", 60, &[], init_dumb_init::TESTS),
        host("init_catatonit", 60, &[], init_catatonit::TESTS),
        host("init_own", 60, &[], init_own::TESTS),
        host("init_load", 120, &[], init_load::TESTS),
        host("command_line", 60, &[], command_line::TESTS),
        host("timings", 60, &[], timings::TESTS),
        start("security", security::TESTS),
        start("hostile_images", hostile_images::TESTS),
        start("faults", faults::TESTS),
        start("bad_roots", bad_roots::TESTS),
    ],
    skips: &[
        ("guest::*", Requirement::Guest),
        ("machine::boots_and_reports_the_code", Requirement::Guest),
        ("machine::ctrl_alt_del", Requirement::Guest),
        ("machine::an_unreadable_plan", Requirement::Guest),
        ("machine::end_without_a_failure", Requirement::Guest),
        ("machine_pods::*", Requirement::Guest),
        ("machine_pods::three_apps", Requirement::Zstd),
        ("machine_root::*", Requirement::Guest),
        ("machine_root::*", Requirement::Ext4),
        ("machine_devices::*", Requirement::Guest),
        ("machine_devices::code_by_vsock", Requirement::Vsock),
        ("debian::*", Requirement::DebianRoot),
        (
            "debian::a_terminal_cannot_be_typed_into",
            Requirement::Tiocsti,
        ),
        ("plan::*", Requirement::Strace),
        ("service_managers::*", Requirement::Systemd),
        ("service_managers::*", Requirement::Busybox),
        ("service_managers::by_openrc", Requirement::Openrc),
        ("plan::of_a_pod_with_limits", Requirement::CgroupV1),
        ("ci_page::*", Requirement::Busybox),
        ("ci_page::*", Requirement::Controllers),
        ("completion::in_zsh", Requirement::Zsh),
        ("completion::in_fish", Requirement::Fish),
        ("completion_pods::in_zsh", Requirement::Zsh),
        ("completion_pods::in_fish", Requirement::Fish),
        ("cgroup::version_1", Requirement::CgroupV1),
        ("cgroup::limit_of_processes", Requirement::CgroupV1),
        ("cgroup::version_2", Requirement::CgroupV2),
        ("cgroup::old_kernels_join", Requirement::CgroupV2),
        ("states_kills::*", Requirement::Controllers),
        ("starts::*", Requirement::Controllers),
        ("prepare::with_limits", Requirement::Controllers),
        ("status_list::numbers", Requirement::Controllers),
        ("stop::init_in_a_frozen_cgroup", Requirement::CgroupV2),
        ("stop::init_that_no_signal_reaches", Requirement::Freezer),
        ("rm_gc::cgroups_go_too", Requirement::Controllers),
        ("rm_gc::calls_of_one_among_many", Requirement::Strace),
        (
            "rm_gc_left::asked_once_in_a_grace_period",
            Requirement::Strace,
        ),
        ("rm_gc_left::code_before_the_end", Requirement::Strace),
        ("limits::*", Requirement::Controllers),
        ("enter::cgroup", Requirement::Controllers),
        ("enter::cve_2016_9962", Requirement::Busybox),
        ("limits_errors::*", Requirement::Controllers),
        (
            "limits_real_time::a_real_time_caller",
            Requirement::RealTimeGroups,
        ),
        ("limit_devices::*", Requirement::Devices),
        ("limit_disks::*", Requirement::Disk),
        ("limit_disks::swap", Requirement::Controllers),
        ("limit_delegation::*", Requirement::CgroupV2),
        ("pod_manifest::limits_of_the_pod", Requirement::Controllers),
        (
            "pod_manifest::limits_are_enforced",
            Requirement::Controllers,
        ),
        ("attach::*", Requirement::Busybox),
        ("attach_pods::*", Requirement::Busybox),
        ("logs::*", Requirement::Busybox),
        ("limits::memory_is_enforced", Requirement::Busybox),
        ("nested::*", Requirement::Podman),
        ("private_users::limits_of_the_pod", Requirement::Controllers),
        ("rootless_pods::more_ids", Requirement::Newuidmap),
        (
            "rootless_pods::terminals_of_more_ids",
            Requirement::Newuidmap,
        ),
        (
            "rootless_pods::ids_that_are_refused",
            Requirement::Newuidmap,
        ),
        ("exec::*", Requirement::Busybox),
        ("exit_codes::*", Requirement::Busybox),
        ("stdio::*", Requirement::Busybox),
        ("signals::*", Requirement::Busybox),
        ("environment::*", Requirement::Busybox),
        ("terminal::*", Requirement::Busybox),
        ("fly::*", Requirement::Busybox),
        ("fly_namespaces::dies_with_the_parent", Requirement::Busybox),
        ("fly_namespaces::init_is_pid_one", Requirement::Tini),
        ("fly_namespaces::init_and_signals", Requirement::Tini),
        ("fly_namespaces::cve_2019_5736_init", Requirement::Tini),
        ("fly_namespaces::bad_inits", Requirement::Tini),
        ("init_tini::as_the_real_one", Requirement::Tini),
        ("init_dumb_init::as_the_real_one", Requirement::DumbInit),
        ("init_catatonit::as_the_real_one", Requirement::Catatonit),
        ("init_load::out_of_memory", Requirement::CgroupV1),
        ("fly_status::cgroup_version_1", Requirement::CgroupV1),
        ("fly_status::cgroup_version_2", Requirement::CgroupV2),
    ],
    target: concat!(env!("CARGO_TARGET_TMPDIR"), "/.."),
};

fn main() {
    std::process::exit(runner::main(&SUITE));
}
