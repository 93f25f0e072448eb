//! `plans SEEDS CORPUS`: the plans that command lines lower to, as seeds for the
//! target `plan`: made when they are needed, they are never of an old format.

use std::{env, error::Error, ffi::CString, fs, path::PathBuf};

use fly::{
    options::{self, Request},
    plan::Builder,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [seeds, corpus] = folders.as_slice() else {
        return Err("plans SEEDS CORPUS".into());
    };
    fs::create_dir_all(corpus)?;
    for entry in fs::read_dir(seeds)? {
        let entry = entry?;
        let bytes = fs::read(entry.path())?;
        let words = bytes.split(|byte| *byte == 0).map(CString::new);
        let words = words.collect::<Result<Vec<_>, _>>()?;
        let Ok(Request::Start(options)) = options::parse(words.iter().map(CString::as_c_str))
        else {
            continue;
        };
        let mut bytes = vec![0; 1 << 16];
        let mut plan = Builder::new(&mut bytes);
        if options.lower(&mut plan, [c"A=1"].into_iter()).is_ok() {
            if let Ok(plan) = plan.finish() {
                fs::write(corpus.join(entry.file_name()), plan.as_bytes())?;
            }
        }
    }
    Ok(())
}
