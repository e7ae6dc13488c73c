//! Local paths that a program names: made absolute once, so that a later change of the current directory moves nothing; told
//! apart from URLs; and names of jobs as names of files.

use std::path::{Path, PathBuf};

/// Schemes that are refused also without a slash behind the colon.
const SCHEMES: [&str; 18] = [
    "abfs", "abfss", "az", "azure", "file", "ftp", "gcs", "gs", "hdfs", "http", "https", "memory", "s3", "s3a", "s3n",
    "viewfs", "wasb", "webhdfs",
];

/// The longest name that the usual file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// Makes a path absolute by the current directory of this moment; links are not followed. A path that cannot be made absolute, since
/// it is empty, a URL, or there is no current directory, stays as it is and fails where it is used.
pub fn absolute(path: PathBuf) -> PathBuf {
    if url_problem(&path).is_some() {
        return path;
    }
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns what is wrong with a local path that is written as a URL; without this it would become a directory of that name.
pub fn url_problem(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    scheme(text)?;
    Some(format!("{text} is a URL: expected a local path, as ./{text} for a directory of this name"))
}

/// Splits a text that begins as a URL does, at its first colon: the scheme in lower case, and what follows the colon.
pub fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let has_form = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let scheme = scheme.to_ascii_lowercase();
    (has_form && (rest.starts_with('/') || SCHEMES.contains(&scheme.as_str()))).then_some((scheme, rest))
}

/// The name of a directory for something that people have named: one name, whatever is in it, and different for different names.
/// What cannot stand in a name of a file (`/`, a null byte, a dot at its beginning) is written as `%` with two digits, as in URLs.
///
/// # Errors
/// When the name is too long for a file.
pub fn directory_name(name: &str) -> Result<String, String> {
    let mut escaped = String::with_capacity(name.len());
    for (index, character) in name.char_indices() {
        match character {
            '/' | '%' | '\0' => escaped.push_str(&format!("%{:02X}", character as u32)),
            '.' if index == 0 => escaped.push_str("%2E"),
            _ => escaped.push(character),
        }
    }
    match escaped.len() {
        0..=LONGEST_NAME => Ok(escaped),
        length => {
            Err(format!("the name has {length} bytes as the name of a directory: expected at most {LONGEST_NAME}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute_and_a_url_is_not() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("./out".into()), here.join("out"));
        assert_eq!(absolute("out/../in".into()), here.join("out/../in"), "the first part may be a link");
        assert_eq!(absolute("/out".into()), Path::new("/out"));
        assert_eq!(absolute(PathBuf::new()), PathBuf::new());
        assert_eq!(absolute("s3://bucket/out".into()), Path::new("s3://bucket/out"));
    }

    #[test]
    fn what_begins_as_a_url_does_is_no_local_path() {
        for url in ["file:/data", "s3:/bucket", "S3:bucket", "hdfs://host/x", "file:data", "odd+scheme:/x", "c3:/x"] {
            assert!(url_problem(Path::new(url)).is_some(), "{url}");
        }
        for path in ["a/b", "./s3:/b", "/s3:/b", "12:30", "c:/x", "notes:today", "a b:/c", ":", ""] {
            assert_eq!(url_problem(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn the_name_of_a_job_is_one_name_of_a_directory_and_no_two_share_one() {
        for (name, directory) in [
            ("word count", "word count"),
            ("Übung.1", "Übung.1"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("../outside", "%2E.%2Foutside"),
            ("/abs/path", "%2Fabs%2Fpath"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("a\0b", "a%00b"),
        ] {
            assert_eq!(directory_name(name).unwrap(), directory);
        }
        assert!(directory_name(&"x".repeat(255)).is_ok());
        assert!(directory_name(&"/".repeat(100)).is_err());
    }
}
