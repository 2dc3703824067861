//! From a job's blocks to its mechanisms.

use std::sync::Arc;

use config::discovery::DiscoveryConfigs;

use crate::consul::Consul;
use crate::file::Files;
use crate::kubernetes::Kubernetes;
use crate::mechanism::Mechanism;
use crate::polled::{Periodic, Polled};
use crate::static_targets::StaticTargets;

/// Calls a macro with the field and the name of every mechanism that looks at
/// intervals: a new one is a line here and its file.
macro_rules! for_each_polled {
    ($call:ident) => {
        $call! {
            aws "aws";
            azure "azure";
            digitalocean "digitalocean";
            dns "dns";
            docker "docker";
            dockerswarm "dockerswarm";
            ec2 "ec2";
            eureka "eureka";
            gce "gce";
            hetzner "hetzner";
            http "http";
            ionos "ionos";
            kuma "kuma";
            lightsail "lightsail";
            linode "linode";
            marathon "marathon";
            nomad "nomad";
            openstack "openstack";
            outscale "outscale";
            puppetdb "puppetdb";
            scaleway "scaleway";
            triton "triton";
            uyuni "uyuni";
            vultr "vultr";
        }
    };
}

/// Mechanisms of other kinds.
const OTHERS: [&str; 4] = ["consul", "file", "kubernetes", "static"];

/// The mechanisms of a job, in the file's order by kind.
pub fn mechanisms(configs: &DiscoveryConfigs) -> Vec<Arc<dyn Mechanism>> {
    let mut all: Vec<Arc<dyn Mechanism>> = Vec::new();
    macro_rules! add {
        ($($field:ident $name:literal;)*) => { $( add_polled(&mut all, &configs.$field); )* };
    }
    for_each_polled!(add);
    all.extend(configs.consul.iter().flatten().cloned().map(|config| Arc::new(Consul { config }) as _));
    all.extend(
        configs.kubernetes.iter().flatten().cloned().map(|config| Arc::new(Kubernetes::new(config)) as _),
    );
    all.extend(configs.file.iter().flatten().cloned().map(|config| Arc::new(Files { config }) as _));
    let groups: Vec<_> = configs.static_groups().cloned().collect();
    if !groups.is_empty() {
        all.push(Arc::new(StaticTargets { groups }));
    }
    all
}

fn add_polled<C: Periodic>(all: &mut Vec<Arc<dyn Mechanism>>, blocks: &[Option<C>]) {
    all.extend(blocks.iter().flatten().map(|config| Arc::new(Polled(config.clone())) as _));
}

/// Mechanisms that a job names but that nothing acts on yet.
pub fn without_effect(configs: &DiscoveryConfigs) -> Vec<&'static str> {
    macro_rules! names {
        ($($field:ident $name:literal;)*) => { [$($name),*] };
    }
    let polled = for_each_polled!(names);
    // Some roles of `aws` are not served.
    let all_of_aws = configs.aws.iter().flatten().all(crate::aws::serves);
    let acts =
        |name: &&str| (*name == "aws" && !all_of_aws) || !(polled.contains(name) || OTHERS.contains(name));
    configs.in_use().into_iter().map(|(name, _)| name).filter(acts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::decode::Chosen;
    use config::discovery::aws::AwsRole;
    use config::discovery::{AwsSdConfig, HttpSdConfig, KubernetesSdConfig, OciSdConfig};

    #[test]
    fn what_nothing_acts_on_is_named() {
        let aws = |role| Some(AwsSdConfig { role: Chosen::some(role), ..AwsSdConfig::default() });
        let mut configs = DiscoveryConfigs {
            http: vec![Some(HttpSdConfig::default())],
            kubernetes: vec![Some(KubernetesSdConfig::default())],
            oci: vec![Some(OciSdConfig::default())],
            aws: vec![aws(AwsRole::Ec2)],
            ..DiscoveryConfigs::default()
        };
        assert_eq!(without_effect(&configs), ["oci"]);
        configs.aws.push(aws(AwsRole::Msk));
        assert_eq!(without_effect(&configs), ["aws", "oci"]);
        assert_eq!(mechanisms(&configs).len(), 4);
    }
}
