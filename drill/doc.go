// Package drill is the product's own proof: it starts all sites of a cluster as processes on this machine, puts live load on them
// through clients that roam, burns sites and does worse to them, and checks every promise from the outside.
//
//	config.go    what is asked for
//	drill.go     one run: people, a fault after the other, the judgement
//	cluster.go   sites as processes; status.go asks them how they stand
//	scenario.go  schedules, made from a seed; fault.go, damage.go, netfault.go, upgrade.go and clock.go
//	             have what can happen
//	wander.go    users who move between sites; probe.go measures how long service is away; contend.go fights for the same things
//	guests.go    the accounts of all of them; crowd.go has many clients that wait, and a rush of writes
//	against.go   the same at a cluster in use, whose sites somebody else burns; visit.go finds out who is there
//	record.go    every call of every client; measure.go makes of it how long a fault was felt
//	linear.go    whether contested things can have happened in one order
//	report.go    verdicts; view.go for a terminal, html.go and chart.go for a browser
//
// The load and the checks of histories are those of package harness, the network with --netns is package wan.
//
// Invariant: a finding is reported only for what clients were told over HTTP, or what a site says of itself in its status; what a
// client was never answered is never counted as lost.
//
// Limits: all sites share this machine's processors, memory and disk. Three processes on one machine are not three data
// centres: the drill shows that the program keeps its promises when sites vanish, not how fast a given pair of data centres is.
package drill
