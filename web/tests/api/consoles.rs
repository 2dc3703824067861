//! Pages made by the operator's templates.

use std::path::Path;

use axum::http::StatusCode;

use crate::server::{Server, all_on};

/// A server whose folders hold a page and a library.
fn server(folder: &Path, page: &str, library: &str) -> Server {
    server_with(folder, page, library, "libraries")
}

/// The same, its libraries named by a pattern.
fn server_with(folder: &Path, page: &str, library: &str, libraries: &str) -> Server {
    std::fs::create_dir(folder.join("consoles")).unwrap();
    std::fs::create_dir(folder.join("libraries")).unwrap();
    std::fs::write(folder.join("consoles/a.html"), page).unwrap();
    std::fs::write(folder.join("libraries/a.lib"), library).unwrap();
    std::fs::write(folder.join("libraries/other.txt"), "{{").unwrap();
    let mut options = all_on();
    let path = |name: &str| folder.join(name).display().to_string();
    options.flags.insert("web.console.templates".to_owned(), path("consoles"));
    options.flags.insert("web.console.libraries".to_owned(), path(libraries));
    Server::new(options)
}

#[tokio::test]
async fn a_page_is_made_of_queries_parameters_and_libraries() {
    let dir = tempfile::tempdir().unwrap();
    let page = "<!DOCTYPE html>{{ template \"head\" \"<T>\" }}<a href=\"{{ pathPrefix }}/x?q={{ $params.q }}\">\
                {{ $params.q }}</a>{{ range $rawParams.q }}[{{ . }}]{{ end }} {{ $path }} \
                {{ query \"vector(1.5) * 2\" | first | value }} {{ query \"3\" | first | value }} {{ externalURL }}\
                <script>f({{ $params.q }})</script>";
    let server = server(dir.path(), page, "{{ define \"head\" }}<h1>{{ . }}</h1>{{ end }}");
    let answer = server.get("/consoles/a.html?q=%3Cb%3E&q=2").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        answer.text(),
        "<!DOCTYPE html><h1>&lt;T&gt;</h1><a href=\"/base/x?q=%3cb%3e\">&lt;b&gt;</a>[&lt;b&gt;][2] a.html 3 3 \
         http://prom.example.org/base<script>f(\"\\u003cb\\u003e\")</script>"
    );
}

#[tokio::test]
async fn folders_of_libraries_may_be_named_by_a_pattern() {
    let library = "{{ define \"head\" }}[{{ . }}]{{ end }}";
    for (pattern, text) in [
        ("lib*", "[x]"),
        ("librarie?/", "[x]"),
        ("li[a-z]raries", "[x]"),
        ("li\\braries", "[x]"),
        ("lib[raries", "syntax error in pattern\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server_with(dir.path(), "{{ template \"head\" \"x\" }}", library, pattern);
        assert_eq!(server.get("/consoles/a.html").await.text(), text, "{pattern}");
    }
}

#[tokio::test]
async fn faults_of_pages_are_told_as_upstream_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), "{{ query $params.q | first | value }}", "");
    let folder = dir.path().join("consoles").display().to_string();
    for (path, status, text) in [
        ("b.html", 404, format!("open {folder}/b.html: no such file or directory\n")),
        ("", 500, format!("read {folder}: is a directory\n")),
        ("a.html?%zz", 400, "invalid URL escape \"%zz\"\n".to_owned()),
        ("a.html?a=1;b", 400, "invalid semicolon separator in query\n".to_owned()),
        (
            "a.html?q=x",
            500,
            "error executing template __console_/a.html: template: __console_/a.html:1:128: executing \
             \"__console_/a.html\" at <first>: error calling first: first() called on vector with no elements\n"
                .to_owned(),
        ),
        (
            "a.html?q=x(",
            500,
            "error executing template __console_/a.html: template: __console_/a.html:1:110: executing \
             \"__console_/a.html\" at <query $params.q>: error calling query: 1:3: parse error: unclosed left \
             parenthesis\n"
                .to_owned(),
        ),
        (
            "a.html?q=x[5m]",
            500,
            "error executing template __console_/a.html: template: __console_/a.html:1:110: executing \
             \"__console_/a.html\" at <query $params.q>: error calling query: rule result is not a vector or scalar\n"
                .to_owned(),
        ),
    ] {
        let answer = server.get(&format!("/consoles/{path}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, text), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let above = server.get("/consoles/%2e%2e/a.lib").await;
    assert_eq!(above.text(), format!("open {folder}/a.lib: no such file or directory\n"));
    assert_eq!(server.get("/consoles/a.html/b").await.text(), "file does not exist\n");
    std::fs::write(dir.path().join("libraries/b.lib"), "{{ nope }}").unwrap();
    let answer = server.get("/consoles/a.html?q=1").await;
    assert_eq!(
        answer.text(),
        "error parsing template files for __console_/a.html: template: b.lib:1: function \"nope\" not defined\n"
    );
}

#[tokio::test]
async fn the_pages_link_to_the_consoles_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), "", "");
    let has_link = |text: &str| text.contains("<a href=\"/base/consoles/index.html\">Consoles</a>");
    assert!(!has_link(&server.get("/query").await.text()));
    std::fs::write(dir.path().join("consoles/index.html"), "").unwrap();
    assert!(has_link(&server.get("/query").await.text()));
}

#[tokio::test]
async fn pages_wait_for_the_server_to_be_ready() {
    let server = Server::starting(all_on());
    assert_eq!(server.get("/consoles/a.html").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
