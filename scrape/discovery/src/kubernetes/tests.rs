//! Roles against upstream's cases, and watches against a local API server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use config::decode::Chosen;
use config::discovery::kubernetes::{AttachMetadata, KubernetesSelector, NamespaceDiscovery};
use config::{HttpClientConfig, Url};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::state::Change;
use super::*;
use crate::group::TargetGroup;
use crate::testing::{Reply, Seen, TestServer, context, context_with, shown, without_empty};

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap()
}

/// All objects of a kind inside a namespace.
fn listed<P, T: Object + DeserializeOwned>(
    objects: &[Value],
    kind: &str,
    namespace: &str,
    keep: fn(T) -> Item<P>,
) -> Change<P> {
    let inside = |object: &&Value| {
        object["kind"] == kind && (namespace.is_empty() || object["metadata"]["namespace"] == namespace)
    };
    let read = |object: &Value| {
        let object: T = serde_json::from_value(object.clone()).unwrap();
        (object.metadata().key(), keep(object))
    };
    Change::Replaced(objects.iter().filter(inside).map(read).collect())
}

fn groups_of<P: Primary>(case: &Value, role: KubernetesRole, primary: &str) -> BTreeMap<String, TargetGroup> {
    let attach = &case["attach_metadata"];
    let config = KubernetesSdConfig {
        attach_metadata: AttachMetadata {
            node: flag(attach, "node"),
            namespace: flag(attach, "namespace"),
            deployment: flag(attach, "deployment"),
            job: flag(attach, "job"),
            cronjob: flag(attach, "cronjob"),
        },
        ..KubernetesSdConfig::default()
    };
    let mut namespaces: Vec<Arc<str>> =
        case["namespaces"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().into()).collect();
    if flag(case, "own_namespace") {
        namespaces.push("own-ns".into());
    }
    if namespaces.is_empty() {
        namespaces.push("".into());
    }
    let (inside, whole) = kinds(&config, role);
    let mut watched: Vec<(Kind, Arc<str>)> = whole.into_iter().map(|kind| (kind, "".into())).collect();
    for namespace in namespaces {
        watched.extend(inside.iter().map(|&kind| (kind, namespace.clone())));
    }
    // Upstream's case has a selector that the recorded case does not name.
    let mut objects = case["final_objects"].as_array().unwrap().clone();
    if case["upstream_test"] == "TestPodDiscoveryWithNodeSelector" {
        objects.retain(|object| {
            object["kind"] != "Node" || object["metadata"]["labels"]["node-type"] == "worker"
        });
    }
    let mut state = State::<P>::new(config.attach_metadata, watched.clone(), context().metrics);
    for (kind, namespace) in watched {
        let change = match kind {
            Kind::Primary => listed(&objects, primary, &namespace, |o: P::Object| Item::Primary(P::new(o))),
            Kind::Service => listed(&objects, "Service", &namespace, |o: objects::Service| {
                Item::Service(service::BehindEndpoints::new(&o))
            }),
            Kind::Pod => listed(&objects, "Pod", &namespace, |o: objects::Pod| Item::Pod(pod::Pod::new(o))),
            Kind::Node => listed(&objects, "Node", "", labels_of_node::<P>),
            Kind::Namespace => listed(&objects, "Namespace", "", labels_of_namespace::<P>),
            Kind::ReplicaSet => listed(&objects, "ReplicaSet", &namespace, owner_of_replica_set::<P>),
            Kind::Job => listed(&objects, "Job", &namespace, owner_of_job::<P>),
        };
        assert_eq!(state.groups(), [], "nothing is said before all is listed");
        state.apply(Event { kind, namespace, change });
    }
    state.groups().into_iter().map(|group| (group.source.clone(), group)).collect()
}

/// Cases that expect a node's label from before its last change, which upstream
/// passes on only with the next change of the endpoints, and we at once.
const EARLIER_NODE_LABEL: [&str; 2] =
    ["TestEndpointsDiscoveryWithUpdatedNodeMetadata", "TestEndpointsSlicesDiscoveryWithUpdatedNodeMetadata"];

fn without_node_label(mut group: Value) -> Value {
    for target in group["targets"].as_array_mut().unwrap() {
        target.as_object_mut().unwrap().remove("__meta_kubernetes_node_label_az");
    }
    group
}

/// Whether the groups are those of a case: groups without targets take
/// something away, so they may as well be absent.
fn agrees(case: &Value, groups: &BTreeMap<String, TargetGroup>) -> Result<(), String> {
    let expected = case["expected"].as_object().unwrap();
    for (source, want) in expected {
        let want = without_empty(want);
        if want["targets"].as_array().is_none_or(Vec::is_empty) {
            if groups.get(source).is_some_and(|group| !group.targets.is_empty()) {
                return Err(format!("{source} has targets"));
            }
            continue;
        }
        let Some(group) = groups.get(source) else { return Err(format!("{source} is missing")) };
        let (mut got, mut want) = (shown(group, str::to_owned), want);
        if EARLIER_NODE_LABEL.contains(&case["upstream_test"].as_str().unwrap()) {
            (got, want) = (without_node_label(got), without_node_label(want));
        }
        if got != want {
            return Err(format!("{source}:\n  got {got}\n want {want}"));
        }
    }
    match groups.values().find(|group| !group.targets.is_empty() && !expected.contains_key(&group.source)) {
        Some(group) => Err(format!("{} is too much", group.source)),
        None => Ok(()),
    }
}

#[test]
fn conformance_objects_give_their_groups() {
    let Some(dir) = testkit::conformance_dir("discovery") else { return };
    let text = std::fs::read_to_string(dir.join("kubernetes/cases.jsonl")).unwrap();
    let (mut passed, mut total) = (0, 0);
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let groups = match case["role"].as_str().unwrap() {
            "node" => groups_of::<node::Node>(&case, KubernetesRole::Node, "Node"),
            "pod" => groups_of::<pod::Pod>(&case, KubernetesRole::Pod, "Pod"),
            "service" => groups_of::<service::Service>(&case, KubernetesRole::Service, "Service"),
            "ingress" => groups_of::<ingress::Ingress>(&case, KubernetesRole::Ingress, "Ingress"),
            "endpoints" => groups_of::<endpoints::Endpoints>(&case, KubernetesRole::Endpoints, "Endpoints"),
            _ => groups_of::<endpointslice::EndpointSlice>(
                &case,
                KubernetesRole::EndpointSlice,
                "EndpointSlice",
            ),
        };
        total += 1;
        match agrees(&case, &groups) {
            Ok(()) => passed += 1,
            Err(fault) => println!("{}: {fault}", case["upstream_test"]),
        }
    }
    println!("discovery/kubernetes: {passed} / {total}");
    assert_eq!(passed, total);
}

/// An API server that a test tells what to answer.
struct Cluster {
    server: TestServer,
    watches: Arc<Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>>,
    lists: Arc<AtomicUsize>,
    /// So many further watches are refused since their version is too old.
    refusals: Arc<AtomicUsize>,
}

fn pod(name: &str, ip: &str, version: u64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": version.to_string(), "managedFields": [1]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]},
        "status": {"podIP": ip, "phase": "Running"},
    })
}

impl Cluster {
    async fn start() -> Cluster {
        let watches: Arc<Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>> = Arc::default();
        let (lists, refusals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = TestServer::start({
            let (watches, lists, refusals) = (watches.clone(), lists.clone(), refusals.clone());
            move |request| {
                if request.parameter("watch") == "1" {
                    let one_less = |n: usize| n.checked_sub(1);
                    if refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                        return Reply::status(410);
                    }
                    let (sender, receiver) = mpsc::unbounded_channel();
                    watches.lock().push(sender);
                    return Reply::stream(receiver);
                }
                if request.parameter("continue") == "more" {
                    return Reply::json(
                        json!({"metadata": {"resourceVersion": "10"}, "items": [pod("b", "10.0.0.2", 2)]})
                            .to_string(),
                    );
                }
                match lists.fetch_add(1, Ordering::SeqCst) {
                    0 => {
                        let metadata = json!({"resourceVersion": "10", "continue": "more"});
                        Reply::json(
                            json!({"metadata": metadata, "items": [pod("a", "10.0.0.1", 1)]}).to_string(),
                        )
                    }
                    // Later on only one of them is left.
                    _ => Reply::json(
                        json!({"metadata": {"resourceVersion": "50"}, "items": [pod("b", "10.0.0.2", 2)]})
                            .to_string(),
                    ),
                }
            }
        })
        .await;
        Cluster { server, watches, lists, refusals }
    }

    /// Sends an event down the watch of a number, once it is there.
    async fn event(&self, watch: usize, r#type: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": r#type, "object": object}));
        self.watch(watch).await.send(line.into_bytes()).unwrap();
    }

    async fn watch(&self, watch: usize) -> mpsc::UnboundedSender<Vec<u8>> {
        loop {
            if let Some(sender) = self.watches.lock().get(watch) {
                return sender.clone();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Cuts the connection of a watch.
    async fn cut(&self, watch: usize) {
        self.watch(watch).await;
        let (sender, _) = mpsc::unbounded_channel();
        self.watches.lock()[watch] = sender;
    }

    fn watch_requests(&self) -> Vec<Seen> {
        let all = self.server.requests().into_iter();
        all.filter(|request| request.parameter("watch") == "1").collect()
    }
}

type Received = mpsc::Receiver<(u64, Vec<TargetGroup>)>;

fn start(kubernetes: Kubernetes, context: &Context) -> Received {
    let (sender, receiver) = mpsc::channel(64);
    let running = Arc::new(kubernetes).start(context.clone(), Updates { provider: 0, sender }).unwrap();
    tokio::spawn(running);
    receiver
}

fn pods(url: &str) -> KubernetesSdConfig {
    KubernetesSdConfig {
        api_server: Some(Url::parse(url).unwrap()),
        role: Chosen::some(KubernetesRole::Pod),
        namespaces: NamespaceDiscovery { own_namespace: false, names: vec!["ns".to_owned()] },
        selectors: vec![KubernetesSelector {
            role: Chosen::some(KubernetesRole::Pod),
            label: "app in (a, b)".to_owned(),
            field: "spec.nodeName=n".to_owned(),
        }],
        http_client: HttpClientConfig::default(),
        ..KubernetesSdConfig::default()
    }
}

async fn sources(receiver: &mut Received) -> Vec<(String, usize)> {
    let (_, groups) = tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.unwrap().unwrap();
    groups.into_iter().map(|group| (group.source, group.targets.len())).collect()
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was_and_an_expired_one_lists_again() {
    let cluster = Cluster::start().await;
    let context = context();
    let mut received = start(Kubernetes::new(pods(&cluster.server.url("/prefix/"))), &context);
    let group = |name: &str, targets: usize| (format!("pod/ns/{name}"), targets);
    assert_eq!(sources(&mut received).await, [group("a", 1), group("b", 1)], "both pages");

    cluster.event(0, "ADDED", &pod("c", "", 11)).await;
    assert_eq!(sources(&mut received).await, [group("c", 0)]);
    let bookmark = json!({"metadata": {"resourceVersion": "20"}});
    cluster.event(0, "BOOKMARK", &bookmark).await;
    cluster.event(0, "DELETED", &pod("c", "", 21)).await;
    assert_eq!(sources(&mut received).await, [group("c", 0)]);

    cluster.cut(0).await;
    cluster.event(1, "MODIFIED", &pod("a", "10.0.0.9", 30)).await;
    assert_eq!(sources(&mut received).await, [group("a", 1)]);
    let watches = cluster.watch_requests();
    assert_eq!(watches[0].path(), "/prefix/api/v1/namespaces/ns/pods");
    assert_eq!(watches[0].parameter("resourceVersion"), "10");
    assert_eq!(watches[0].parameter("labelSelector"), "app in (a, b)");
    assert_eq!(watches[0].parameter("fieldSelector"), "spec.nodeName=n");
    assert_eq!(watches[0].parameter("allowWatchBookmarks"), "true");
    assert_eq!(watches[1].parameter("resourceVersion"), "21");
    assert_eq!(cluster.lists.load(Ordering::SeqCst), 1, "a cut needs no list");

    cluster.event(1, "ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"})).await;
    assert_eq!(
        sources(&mut received).await,
        [group("a", 0), group("b", 1)],
        "what is gone meanwhile is emptied"
    );
    cluster.watch(2).await;
    assert_eq!(cluster.watch_requests()[2].parameter("resourceVersion"), "50");
    let events = &context.metrics.kubernetes_events;
    assert_eq!(events.with(&["pod", "add"]).get(), 3.0);
    assert_eq!(events.with(&["pod", "update"]).get(), 2.0);
    assert_eq!(events.with(&["pod", "delete"]).get(), 2.0);
    assert_eq!(context.metrics.kubernetes_failures.get(), 0.0);
}

/// A version can be too old by the time it is asked for: the answer itself is
/// 410 then, and there is no stream to say so.
#[tokio::test]
async fn a_watch_that_is_refused_as_too_old_lists_again() {
    let cluster = Cluster::start().await;
    let context = context();
    let mut received = start(Kubernetes::new(pods(&cluster.server.url("/prefix/"))), &context);
    sources(&mut received).await;
    cluster.watch(0).await;
    cluster.refusals.store(1, Ordering::SeqCst);
    cluster.cut(0).await;
    assert_eq!(sources(&mut received).await, [("pod/ns/a".to_owned(), 0), ("pod/ns/b".to_owned(), 1)]);
    cluster.watch(1).await;
    let versions: Vec<String> =
        cluster.watch_requests().iter().map(|request| request.parameter("resourceVersion")).collect();
    assert_eq!(versions, ["10", "10", "50"]);
    assert_eq!(context.metrics.kubernetes_failures.get(), 0.0);
}

#[tokio::test]
async fn the_service_accounts_token_is_read_again_for_each_request() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "first\n").unwrap();
    std::fs::write(dir.path().join("namespace"), "ns").unwrap();
    let cluster = Cluster::start().await;
    let (host, port) = cluster.server.address.split_once(':').unwrap();
    let context = context_with(&[("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)]);
    let config = KubernetesSdConfig {
        api_server: None,
        namespaces: NamespaceDiscovery { own_namespace: true, names: Vec::new() },
        ..pods("http://unused")
    };
    let mut access = credentials::access(&config, &context, dir.path()).unwrap();
    assert_eq!(access.base, format!("https://{}", cluster.server.address));
    assert_eq!(access.own_namespace.as_deref(), Some("ns"));
    // The local server speaks no TLS.
    access.base = cluster.server.url("");
    let (sender, mut received) = mpsc::channel(64);
    let updates = Updates { provider: 0, sender };
    let watching = Watching { config, access, context, updates };
    tokio::spawn(watching.run::<pod::Pod>(KubernetesRole::Pod));
    sources(&mut received).await;
    cluster.watch(0).await;
    std::fs::write(dir.path().join("token"), "second\n").unwrap();
    cluster.cut(0).await;
    cluster.watch(1).await;
    let requests = cluster.watch_requests();
    assert_eq!(requests[0].header("authorization"), "Bearer first");
    assert_eq!(requests[1].header("authorization"), "Bearer second");
}

#[tokio::test]
async fn a_refused_list_is_counted_and_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let server = TestServer::start({
        let tries = tries.clone();
        move |request| match (request.parameter("watch").as_str(), tries.fetch_add(1, Ordering::SeqCst)) {
            ("1", _) => Reply::stream(mpsc::unbounded_channel().1),
            (_, 0) => Reply::status(403).body(r#"{"message": "pods is forbidden"}"#),
            _ => Reply::json(json!({"metadata": {}, "items": [pod("a", "10.0.0.1", 1)]}).to_string()),
        }
    })
    .await;
    let context = context();
    let mut received = start(Kubernetes::new(pods(&server.url(""))), &context);
    assert_eq!(sources(&mut received).await, [("pod/ns/a".to_owned(), 1)]);
    assert_eq!(context.metrics.kubernetes_failures.get(), 1.0);
    assert_eq!(context.metrics.kubernetes_requests.with(&["403"]).get(), 1.0);
}
