package jet

import (
	"crypto/tls"
	"time"

	"bongsu/journal"
)

// Cluster says how the engines of the sites find each other. All sites are given the same Name, Sites, First and Timers.
type Cluster struct {
	Name   string   // of the cluster; 1 to 64 of a-z, 0-9, '-'
	Site   string   // this site's name, one of Sites
	Sites  []string // all sites, this one included: three or five
	Listen string   // host:port where the routes of the other sites arrive
	Routes []string // host:port of the other sites' Listen, as seen from here

	// TLS is for the routes in both directions. It must verify the peer by itself with VerifyConnection, and ask for its
	// certificate. Nil means no encryption and no proof of who calls, for tests only.
	TLS *tls.Config

	// First is where each partition begins when the cluster is made, for one that continues another; nil means 1. It has no
	// effect later.
	First []journal.Position

	Timers Timers
}

// Timers of the engine's elections. They are the same for all engines of a process. The zero value means the defaults.
type Timers struct {
	// A follower that hears nothing from its leader stands for election after a random time between these two. The loss of a
	// leader stops its partitions for about that long; a follower that is merely slow to hear costs an election for nothing.
	ElectionMin, ElectionMax time.Duration
	// Heartbeat is how often an idle leader speaks.
	Heartbeat time.Duration
}
