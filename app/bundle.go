package app

import (
	"bongsu/clock"
	"bongsu/cluster"
)

// ClusterPlan and ClusterSite are what InitCluster is told.
type (
	ClusterPlan = cluster.Plan
	ClusterSite = cluster.SitePlan
)

// ParseClusterSite reads NAME=HOST or NAME=HOST:PORT.
func ParseClusterSite(text string) (ClusterSite, error) { return cluster.ParseSitePlan(text) }

// InitCluster makes the files of a new cluster in dir and returns its id; see cluster.Init.
func InitCluster(dir string, p ClusterPlan) (id string, err error) {
	return cluster.Init(dir, p, clock.System{}.Now())
}

// RenewCertificate makes a new certificate for a site in out; see cluster.Renew.
func RenewCertificate(ca, site, out string) error {
	return cluster.Renew(ca, site, out, clock.System{}.Now())
}
