//! `*_sd_configs` and `static_configs`: where targets come from. One file a
//! mechanism; what a mechanism does is the `discovery` crate's.
//! Source: Prometheus `discovery/registry.go` and the mechanism's own folder.

pub mod aws;
pub mod azure;
pub mod consul;
pub mod digitalocean;
pub mod dns;
pub mod docker;
pub mod dockerswarm;
pub mod ec2;
pub mod ecs;
pub mod elasticache;
pub mod eureka;
pub mod file;
pub mod gce;
pub mod hetzner;
pub mod http;
pub mod ionos;
pub mod kubernetes;
pub mod kuma;
pub mod lightsail;
pub mod linode;
pub mod marathon;
pub mod msk;
pub mod nerve;
pub mod nomad;
pub mod oci;
pub mod openstack;
pub mod outscale;
pub mod ovhcloud;
pub mod puppetdb;
pub mod rds;
pub mod scaleway;
pub mod serverset;
pub mod stackit;
pub mod triton;
pub mod uyuni;
pub mod vultr;

use std::path::Path;

use crate::block::{Block, block, zero_default};
use crate::decode::Walk;
use crate::names::LabelSet;
use crate::values::quoted;

pub use aws::AwsSdConfig;
pub use azure::AzureSdConfig;
pub use consul::ConsulSdConfig;
pub use digitalocean::DigitalOceanSdConfig;
pub use dns::DnsSdConfig;
pub use docker::DockerSdConfig;
pub use dockerswarm::DockerSwarmSdConfig;
pub use ec2::Ec2SdConfig;
pub use ecs::EcsSdConfig;
pub use elasticache::ElasticacheSdConfig;
pub use eureka::EurekaSdConfig;
pub use file::FileSdConfig;
pub use gce::GceSdConfig;
pub use hetzner::HetznerSdConfig;
pub use http::HttpSdConfig;
pub use ionos::IonosSdConfig;
pub use kubernetes::KubernetesSdConfig;
pub use kuma::KumaSdConfig;
pub use lightsail::LightsailSdConfig;
pub use linode::LinodeSdConfig;
pub use marathon::MarathonSdConfig;
pub use msk::MskSdConfig;
pub use nerve::NerveSdConfig;
pub use nomad::NomadSdConfig;
pub use oci::OciSdConfig;
pub use openstack::OpenStackSdConfig;
pub use outscale::OutscaleSdConfig;
pub use ovhcloud::OvhcloudSdConfig;
pub use puppetdb::PuppetdbSdConfig;
pub use rds::RdsSdConfig;
pub use scaleway::ScalewaySdConfig;
pub use serverset::ServersetSdConfig;
pub use stackit::StackitSdConfig;
pub use triton::TritonSdConfig;
pub use uyuni::UyuniSdConfig;
pub use vultr::VultrSdConfig;

/// A block with paths that are relative to the file it stands in.
pub trait Located {
    /// Joins the paths with the file's folder.
    fn set_directory(&mut self, dir: &Path);
}

block! {
    /// Targets that are written in the file.
    pub struct StaticConfig: "struct" {
        /// The targets, host and port.
        targets: Vec<String> => always "targets",
        /// Labels of all of them.
        labels: LabelSet => omit "labels",
    }
}

zero_default!(StaticConfig);

impl Block for StaticConfig {}

impl StaticConfig {
    /// Reads a document that is one target group, strictly.
    ///
    /// # Errors
    /// All faults found.
    pub fn load(text: &str) -> Result<StaticConfig, crate::ConfigErrors> {
        crate::load::block_from_text(text)
    }
}

/// Reads a document that is a list of target groups, strictly: what file
/// discovery reads. JSON is read too, being YAML.
///
/// # Errors
/// All faults found; a null item is one.
pub fn load_target_groups(text: &str) -> Result<Vec<StaticConfig>, crate::ConfigErrors> {
    let (root, mut walk) = crate::load::open(text)?;
    let groups: Option<Vec<Option<StaticConfig>>> = match root {
        Some(root) => crate::decode::read(&root, &mut walk),
        None => Some(Vec::new()),
    };
    for (index, _) in groups.iter().flatten().enumerate().filter(|(_, group)| group.is_none()) {
        walk.invalid_at([index.into()], format!("nil target group item found (index {index})"));
    }
    let groups = groups.map(|groups| groups.into_iter().flatten().collect());
    crate::load::finish(groups, walk)
}

impl Located for StaticConfig {
    fn set_directory(&mut self, _dir: &Path) {}
}

/// A list of a mechanism's blocks. In a loaded configuration every item is
/// present.
pub type Blocks<T> = Vec<Option<T>>;

block! {
    /// All mechanisms of a job, in the order in which they are printed.
    pub struct DiscoveryConfigs: "discovery.Configs" {
        /// Any service of AWS.
        aws: Blocks<AwsSdConfig> => omit "aws_sd_configs",
        /// Azure.
        azure: Blocks<AzureSdConfig> => omit "azure_sd_configs",
        /// Consul.
        consul: Blocks<ConsulSdConfig> => omit "consul_sd_configs",
        /// DigitalOcean.
        digitalocean: Blocks<DigitalOceanSdConfig> => omit "digitalocean_sd_configs",
        /// DNS.
        dns: Blocks<DnsSdConfig> => omit "dns_sd_configs",
        /// Docker.
        docker: Blocks<DockerSdConfig> => omit "docker_sd_configs",
        /// Docker Swarm.
        dockerswarm: Blocks<DockerSwarmSdConfig> => omit "dockerswarm_sd_configs",
        /// AWS EC2.
        ec2: Blocks<Ec2SdConfig> => omit "ec2_sd_configs",
        /// AWS ECS.
        ecs: Blocks<EcsSdConfig> => omit "ecs_sd_configs",
        /// AWS ElastiCache.
        elasticache: Blocks<ElasticacheSdConfig> => omit "elasticache_sd_configs",
        /// Eureka.
        eureka: Blocks<EurekaSdConfig> => omit "eureka_sd_configs",
        /// Files.
        file: Blocks<FileSdConfig> => omit "file_sd_configs",
        /// Google Compute Engine.
        gce: Blocks<GceSdConfig> => omit "gce_sd_configs",
        /// Hetzner.
        hetzner: Blocks<HetznerSdConfig> => omit "hetzner_sd_configs",
        /// A URL.
        http: Blocks<HttpSdConfig> => omit "http_sd_configs",
        /// IONOS.
        ionos: Blocks<IonosSdConfig> => omit "ionos_sd_configs",
        /// Kubernetes.
        kubernetes: Blocks<KubernetesSdConfig> => omit "kubernetes_sd_configs",
        /// Kuma.
        kuma: Blocks<KumaSdConfig> => omit "kuma_sd_configs",
        /// AWS Lightsail.
        lightsail: Blocks<LightsailSdConfig> => omit "lightsail_sd_configs",
        /// Linode.
        linode: Blocks<LinodeSdConfig> => omit "linode_sd_configs",
        /// Marathon.
        marathon: Blocks<MarathonSdConfig> => omit "marathon_sd_configs",
        /// AWS MSK.
        msk: Blocks<MskSdConfig> => omit "msk_sd_configs",
        /// Nerve.
        nerve: Blocks<NerveSdConfig> => omit "nerve_sd_configs",
        /// Nomad.
        nomad: Blocks<NomadSdConfig> => omit "nomad_sd_configs",
        /// Oracle Cloud.
        oci: Blocks<OciSdConfig> => omit "oci_sd_configs",
        /// OpenStack.
        openstack: Blocks<OpenStackSdConfig> => omit "openstack_sd_configs",
        /// Outscale.
        outscale: Blocks<OutscaleSdConfig> => omit "outscale_sd_configs",
        /// OVHcloud.
        ovhcloud: Blocks<OvhcloudSdConfig> => omit "ovhcloud_sd_configs",
        /// PuppetDB.
        puppetdb: Blocks<PuppetdbSdConfig> => omit "puppetdb_sd_configs",
        /// AWS RDS.
        rds: Blocks<RdsSdConfig> => omit "rds_sd_configs",
        /// Scaleway.
        scaleway: Blocks<ScalewaySdConfig> => omit "scaleway_sd_configs",
        /// Finagle server sets.
        serverset: Blocks<ServersetSdConfig> => omit "serverset_sd_configs",
        /// STACKIT.
        stackit: Blocks<StackitSdConfig> => omit "stackit_sd_configs",
        /// Targets in the file itself.
        static_configs: Blocks<StaticConfig> => omit "static_configs",
        /// Triton.
        triton: Blocks<TritonSdConfig> => omit "triton_sd_configs",
        /// Uyuni.
        uyuni: Blocks<UyuniSdConfig> => omit "uyuni_sd_configs",
        /// Vultr.
        vultr: Blocks<VultrSdConfig> => omit "vultr_sd_configs",
    }
}

zero_default!(DiscoveryConfigs);

/// Calls a macro with every mechanism's field, its name and its key.
macro_rules! for_each_mechanism {
    ($call:ident) => {
        $call! {
            aws "aws" "aws_sd_configs";
            azure "azure" "azure_sd_configs";
            consul "consul" "consul_sd_configs";
            digitalocean "digitalocean" "digitalocean_sd_configs";
            dns "dns" "dns_sd_configs";
            docker "docker" "docker_sd_configs";
            dockerswarm "dockerswarm" "dockerswarm_sd_configs";
            ec2 "ec2" "ec2_sd_configs";
            ecs "ecs" "ecs_sd_configs";
            elasticache "elasticache" "elasticache_sd_configs";
            eureka "eureka" "eureka_sd_configs";
            file "file" "file_sd_configs";
            gce "gce" "gce_sd_configs";
            hetzner "hetzner" "hetzner_sd_configs";
            http "http" "http_sd_configs";
            ionos "ionos" "ionos_sd_configs";
            kubernetes "kubernetes" "kubernetes_sd_configs";
            kuma "kuma" "kuma_sd_configs";
            lightsail "lightsail" "lightsail_sd_configs";
            linode "linode" "linode_sd_configs";
            marathon "marathon" "marathon_sd_configs";
            msk "msk" "msk_sd_configs";
            nerve "nerve" "nerve_sd_configs";
            nomad "nomad" "nomad_sd_configs";
            oci "oci" "oci_sd_configs";
            openstack "openstack" "openstack_sd_configs";
            outscale "outscale" "outscale_sd_configs";
            ovhcloud "ovhcloud" "ovhcloud_sd_configs";
            puppetdb "puppetdb" "puppetdb_sd_configs";
            rds "rds" "rds_sd_configs";
            scaleway "scaleway" "scaleway_sd_configs";
            serverset "serverset" "serverset_sd_configs";
            stackit "stackit" "stackit_sd_configs";
            static_configs "static" "static_configs";
            triton "triton" "triton_sd_configs";
            uyuni "uyuni" "uyuni_sd_configs";
            vultr "vultr" "vultr_sd_configs";
        }
    };
}

impl DiscoveryConfigs {
    /// The names of all mechanisms, as metrics and `/features` call them.
    pub fn mechanisms() -> Vec<&'static str> {
        macro_rules! names {
            ($($field:ident $name:literal $key:literal;)*) => { vec![$($name),*] };
        }
        for_each_mechanism!(names)
    }

    /// The mechanisms in use, with the number of their blocks.
    pub fn in_use(&self) -> Vec<(&'static str, usize)> {
        macro_rules! counts {
            ($($field:ident $name:literal $key:literal;)*) => { vec![$(($name, self.$field.len())),*] };
        }
        let all: Vec<(&'static str, usize)> = for_each_mechanism!(counts);
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }

    /// The groups of targets in the file itself.
    pub fn static_groups(&self) -> impl Iterator<Item = &StaticConfig> {
        self.static_configs.iter().flatten()
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        macro_rules! locate {
            ($($field:ident $name:literal $key:literal;)*) => {
                $( self.$field.iter_mut().flatten().for_each(|block| block.set_directory(dir)); )*
            };
        }
        for_each_mechanism!(locate);
    }

    /// Refuses null items.
    pub(crate) fn check_present(&self, walk: &mut Walk) {
        macro_rules! present {
            ($($field:ident $name:literal $key:literal;)*) => {
                $( if let Some(index) = self.$field.iter().position(Option::is_none) {
                    let message = concat!("empty or null section in ", $key);
                    walk.invalid_at([$key.into(), index.into()], message);
                } )*
            };
        }
        for_each_mechanism!(present);
    }
}

/// Refuses URLs where targets are host and port.
pub(crate) fn check_static_targets(discovery: &DiscoveryConfigs, walk: &mut Walk) {
    for (index, group) in discovery.static_configs.iter().enumerate() {
        for target in group.iter().flat_map(|group| &group.targets) {
            if let Err(fault) = check_target_address(target) {
                walk.invalid_at(["static_configs".into(), index.into(), "targets".into()], fault);
            }
        }
    }
}

/// Checks that an address is host and port.
///
/// # Errors
/// It has a slash, as URLs do.
pub fn check_target_address(address: &str) -> Result<(), String> {
    if address.contains('/') {
        return Err(format!("{} is not a valid hostname", quoted(address)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_group_files_are_read_strictly() {
        let groups = load_target_groups("- targets: [a:1]\n  labels: {x: y}\n").unwrap();
        assert_eq!(groups[0].targets, ["a:1"]);
        assert_eq!(groups[0].labels.0["x"], "y");
        let json = r#"[{"targets": ["a:1"], "labels": {"x": "y"}}]"#;
        assert_eq!(load_target_groups(json).unwrap(), groups);
        assert!(load_target_groups("[]").unwrap().is_empty());
        let error = load_target_groups("- targets: [a]\n- ~\n").unwrap_err().to_string();
        assert!(error.starts_with("nil target group item found (index 1)"), "{error}");
        assert!(load_target_groups("- hosts: [a]").is_err());
    }
}
