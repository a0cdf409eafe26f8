// Package drill is the product's own proof: it starts all sites of a cluster as processes on this machine, puts live load on them
// through clients that roam, burns sites and does worse to them, and checks every promise from the outside.
//
// Invariant: a finding is reported only for what clients were told over HTTP, or what a site says of itself in its status; what a
// client was never answered is never counted as lost.
//
// Limits: all sites share this machine's processors, memory and disk. Three processes on one machine are not three data
// centres: the drill shows that the program keeps its promises when sites vanish, not how fast a given pair of data centres is.
package drill
