//! What was set elsewhere: defaults < configuration file < environment < flags, in one typed
//! [`Settings`]. Every value remembers where it came from, for errors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use ffrtmp::core::error::nearest;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::transport::http::ClientConfig;
use figment::Figment;
use figment::providers::{Format as _, Yaml};

use crate::cli::Globals;

const DEFAULT_MASTER: &str = "https://localhost:8080";
const KEYS: &[&str] = &["master_url", "api_key", "api_key_file", "ca", "insecure_skip_verify"];

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// A flag, a variable, or a key of a file.
    pub(crate) origin: String,
}

/// How to reach the master.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Address.
    pub(crate) master: Sourced<String>,
    /// Key, if one is set.
    pub(crate) api_key: Option<Sourced<String>>,
    /// Certificate that vouches for it.
    pub(crate) ca: Option<Sourced<PathBuf>>,
    /// Whether any certificate is trusted.
    pub(crate) insecure_skip_verify: bool,
    /// Where certificates are remembered that were trusted on first use.
    pub(crate) pins: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("master", &self.master).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// The surroundings of the process, so that tests can make their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    variables: BTreeMap<&'static str, String>,
    home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// `invalid_config` for a variable that is no text.
    pub(crate) fn of_process() -> Result<Self> {
        let mut variables = BTreeMap::new();
        for name in ["MASTER_URL", "MASTER_API_KEY", "FFMPEG_RTMP_API_KEY"] {
            if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
                variables.insert(name, variable(name, value)?);
            }
        }
        Ok(Self { variables, home: std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from) })
    }

    fn first(&self, names: &[&'static str]) -> Option<Sourced<String>> {
        names.iter().find_map(|name| {
            let value = self.variables.get(name)?.clone();
            Some(Sourced { value, origin: (*name).to_owned() })
        })
    }

    fn own_directory(&self) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(".ffrtmp"))
    }
}

fn variable(name: &str, value: OsString) -> Result<String> {
    value.into_string().map_err(|_| invalid(name, "the value is not UTF-8 text", "set the variable again, or unset it"))
}

impl Settings {
    /// Puts together what the flags, the surroundings and the file say.
    ///
    /// # Errors
    /// `invalid_config`, naming where the bad value came from.
    pub(crate) fn load(globals: &Globals, surroundings: &Surroundings) -> Result<Self> {
        let file = File::read(globals, surroundings)?;
        let masters = (!globals.master.is_empty()).then(|| globals.master.join(","));
        let master = flag("--master", &masters)
            .or_else(|| surroundings.first(&["MASTER_URL"]))
            .or_else(|| file.text("master_url"))
            .unwrap_or_else(|| Sourced { value: DEFAULT_MASTER.to_owned(), origin: "default".to_owned() });
        let settings = Self {
            master: checked_address(master)?,
            api_key: api_key(globals, surroundings, &file)?,
            ca: flag("--ca", &globals.ca).or_else(|| file.path("ca")),
            insecure_skip_verify: globals.insecure_skip_verify || file.truth("insecure_skip_verify"),
            pins: surroundings.own_directory().map(|directory| directory.join("known_masters")),
        };
        settings.ca.as_ref().map_or(Ok(()), readable)?;
        Ok(settings)
    }

    /// What the client needs to know.
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            master: self.master.value.clone(),
            api_key: self.api_key.as_ref().map(|key| key.value.clone()),
            ca: self.ca.as_ref().map(|ca| ca.value.clone()),
            insecure_skip_verify: self.insecure_skip_verify,
            pins: self.pins.clone(),
            ..ClientConfig::default()
        }
    }
}

fn flag<T: Clone>(name: &str, value: &Option<T>) -> Option<Sourced<T>> {
    value.clone().map(|value| Sourced { value, origin: name.to_owned() })
}

fn api_key(globals: &Globals, surroundings: &Surroundings, file: &File) -> Result<Option<Sourced<String>>> {
    if let Some(key) = flag("--api-key", &globals.api_key) {
        return checked_key(key).map(Some);
    }
    if let Some(path) = flag("--api-key-file", &globals.api_key_file) {
        return key_in(&path).map(Some);
    }
    if let Some(key) = surroundings.first(&["MASTER_API_KEY", "FFMPEG_RTMP_API_KEY"]) {
        return checked_key(key).map(Some);
    }
    if let Some(key) = file.text("api_key") {
        return checked_key(key).map(Some);
    }
    file.path("api_key_file").map(|path| key_in(&path)).transpose()
}

fn key_in(path: &Sourced<PathBuf>) -> Result<Sourced<String>> {
    let text = std::fs::read_to_string(&path.value).map_err(|error| {
        invalid(&path.origin, &format!("{} cannot be read", path.value.display()), "give a file that holds the key")
            .source(error)
    })?;
    checked_key(Sourced { value: text.trim().to_owned(), origin: path.origin.clone() })
}

fn checked_key(key: Sourced<String>) -> Result<Sourced<String>> {
    let printable = !key.value.is_empty() && key.value.bytes().all(|byte| byte.is_ascii_graphic());
    if printable {
        Ok(key)
    } else {
        Err(invalid(&key.origin, "the key is empty or has characters that a key cannot have", "give the master's key"))
    }
}

/// The address of a master, or of several with commas between.
fn checked_address(master: Sourced<String>) -> Result<Sourced<String>> {
    let addresses: Vec<_> = master.value.split(',').map(|address| address.trim().trim_end_matches('/')).collect();
    match addresses.iter().find(|address| !is_address(address)) {
        None => Ok(Sourced { value: addresses.join(","), origin: master.origin }),
        Some(wrong) => {
            let message = format!("{wrong:?} is not the address of a master");
            Err(invalid(&master.origin, &message, "give https://HOST:PORT, or several with commas between"))
        }
    }
}

fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !host.is_empty() && !host.starts_with(':') && host.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

fn readable(file: &Sourced<PathBuf>) -> Result<()> {
    std::fs::File::open(&file.value).map(|_| ()).map_err(|error| {
        invalid(&file.origin, &format!("{} cannot be read", file.value.display()), "give a certificate in PEM form")
            .source(error)
    })
}

fn invalid(origin: &str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidConfig, message).field(origin).hint(hint)
}

/// The configuration file, checked.
#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    values: BTreeMap<String, figment::value::Value>,
}

impl File {
    /// Reads the file that the flags name, or the usual one where it exists.
    fn read(globals: &Globals, surroundings: &Surroundings) -> Result<Self> {
        let usual = surroundings.own_directory().map(|directory| directory.join("config.yaml"));
        let Some(path) = globals.config.clone().or_else(|| usual.filter(|path| path.exists())) else {
            return Ok(Self::default());
        };
        if let Err(error) = std::fs::File::open(&path) {
            let message = format!("{} cannot be read", path.display());
            return Err(invalid("--config", &message, "give a YAML file, or create it").source(error));
        }
        Self::parse(path)
    }

    fn parse(path: PathBuf) -> Result<Self> {
        let place = path.display().to_string();
        let values: BTreeMap<String, figment::value::Value> = Figment::from(Yaml::file_exact(&path))
            .extract()
            .map_err(|error| invalid(&place, "it is not YAML of the form `key: value`", &example()).source(error))?;
        for (key, value) in &values {
            check(&place, key, value)?;
        }
        Ok(Self { path, values })
    }

    fn text(&self, key: &str) -> Option<Sourced<String>> {
        let value = self.values.get(key)?.as_str()?.to_owned();
        Some(Sourced { value, origin: format!("{}: {key}", self.path.display()) })
    }

    /// A relative path counts from the file's own directory.
    fn path(&self, key: &str) -> Option<Sourced<PathBuf>> {
        let Sourced { value, origin } = self.text(key)?;
        let value = self.path.parent().unwrap_or(Path::new("")).join(value);
        Some(Sourced { value, origin })
    }

    fn truth(&self, key: &str) -> bool {
        self.values.get(key).and_then(figment::value::Value::to_bool).unwrap_or(false)
    }
}

fn check(place: &str, key: &str, value: &figment::value::Value) -> Result<()> {
    let origin = format!("{place}: {key}");
    if !KEYS.contains(&key) {
        let near = nearest(key, KEYS.iter().copied()).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
        return Err(invalid(&origin, "unknown key", &format!("{near}known: {}", KEYS.join(", "))));
    }
    let truth = key == "insecure_skip_verify";
    let fits = if truth { value.to_bool().is_some() } else { value.as_str().is_some() };
    let hint = if truth { "give true or false" } else { "give a text, in quotes if it looks like a number" };
    if fits { Ok(()) } else { Err(invalid(&origin, "the value has the wrong type", hint)) }
}

fn example() -> String {
    "write lines such as `master_url: https://master.example:8080`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(home: &Path, variables: &[(&'static str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Surroundings { variables, home: Some(home.to_owned()) }
    }

    fn home_with(config: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ffrtmp")).unwrap();
        std::fs::write(home.path().join(".ffrtmp/config.yaml"), config).unwrap();
        home
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let home = home_with("master_url: https://file:1\napi_key: from-file\n");
        let bare = surroundings(home.path(), &[]);
        let full =
            surroundings(home.path(), &[("MASTER_URL", "https://variable:2/"), ("FFMPEG_RTMP_API_KEY", "from-old")]);
        let flags = Globals { master: vec!["http://flag:3/".into(), "http://flag:4".into()], ..Globals::default() };
        let none = Globals::default();

        let empty = tempfile::tempdir().unwrap();
        let default = Settings::load(&none, &surroundings(empty.path(), &[])).unwrap();
        assert_eq!((default.master.value.as_str(), default.api_key), (DEFAULT_MASTER, None));

        let file = Settings::load(&none, &bare).unwrap();
        assert_eq!((file.master.value.as_str(), file.api_key.unwrap().value.as_str()), ("https://file:1", "from-file"));

        let variable = Settings::load(&none, &full).unwrap();
        assert_eq!(variable.master.value, "https://variable:2");
        assert_eq!(variable.api_key.unwrap().origin, "FFMPEG_RTMP_API_KEY");

        assert_eq!(Settings::load(&flags, &full).unwrap().master.origin, "--master");
    }

    #[test]
    fn errors_name_where_the_value_came_from() {
        for (config, origin, hint) in [
            ("master_ur: x", "config.yaml: master_ur", "did you mean master_url?"),
            ("api_key: 12345", "config.yaml: api_key", "in quotes"),
            ("master_url: nowhere", "config.yaml: master_url", "https://HOST:PORT"),
            ("api_key_file: missing", "config.yaml: api_key_file", "holds the key"),
            ("- a\n- b", "config.yaml", "master_url:"),
            ("ca: missing.pem", "config.yaml: ca", "PEM"),
        ] {
            let home = home_with(config);
            let error = Settings::load(&Globals::default(), &surroundings(home.path(), &[])).unwrap_err();
            assert_eq!(error.code(), Code::InvalidConfig, "{config}");
            assert!(error.field_name().unwrap().ends_with(origin), "{config}: {error}");
            assert!(error.hint_text().contains(hint), "{config}: {}", error.hint_text());
        }
        let home = tempfile::tempdir().unwrap();
        let set = surroundings(home.path(), &[("MASTER_URL", "ftp://x")]);
        assert_eq!(Settings::load(&Globals::default(), &set).unwrap_err().field_name(), Some("MASTER_URL"));
    }
}
