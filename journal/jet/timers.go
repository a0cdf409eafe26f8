package jet

import (
	"fmt"
	"time"
	_ "unsafe" // for go:linkname
)

// The engine's election timers are variables of its package that no option reaches (ADR 14). They are set before the first
// clustered engine of a process starts and never again, because running engines read them without a lock.

//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
var minElectionTimeout time.Duration

//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var maxElectionTimeout time.Duration

//go:linkname minCampaignTimeout github.com/nats-io/nats-server/v2/server.minCampaignTimeout
var minCampaignTimeout time.Duration

//go:linkname maxCampaignTimeout github.com/nats-io/nats-server/v2/server.maxCampaignTimeout
var maxCampaignTimeout time.Duration

//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
var hbInterval time.Duration

//go:linkname lostQuorumInterval github.com/nats-io/nats-server/v2/server.lostQuorumInterval
var lostQuorumInterval time.Duration

//go:linkname lostQuorumCheck github.com/nats-io/nats-server/v2/server.lostQuorumCheck
var lostQuorumCheck time.Duration

// engineTimers are the values of those variables.
type engineTimers struct {
	minElection, maxElection, minCampaign, maxCampaign, heartbeat, lostQuorum, lostQuorumCheck time.Duration
}

// upstream are the values that the engine brings. Others mean that it has changed: what the variables do must be read again then.
func upstream() engineTimers {
	return engineTimers{
		minElection: 4 * time.Second, maxElection: 9 * time.Second,
		minCampaign: 100 * time.Millisecond, maxCampaign: 800 * time.Millisecond,
		heartbeat: time.Second, lostQuorum: 10 * time.Second, lostQuorumCheck: 10 * time.Second,
	}
}

func currentTimers() engineTimers {
	return engineTimers{minElectionTimeout, maxElectionTimeout, minCampaignTimeout, maxCampaignTimeout, hbInterval,
		lostQuorumInterval, lostQuorumCheck}
}

func (t Timers) withDefaults() Timers {
	if t.ElectionMin == 0 {
		t.ElectionMin = 500 * time.Millisecond
	}
	if t.ElectionMax == 0 {
		t.ElectionMax = 2 * t.ElectionMin
	}
	if t.Heartbeat == 0 {
		t.Heartbeat = min(150*time.Millisecond, t.ElectionMin/3)
	}
	return t
}

func (t Timers) check() error {
	if t.Heartbeat < time.Millisecond || t.ElectionMin < 2*t.Heartbeat || t.ElectionMax < t.ElectionMin+t.ElectionMin/4 || t.ElectionMax > time.Minute {
		return fmt.Errorf("jet: timers %+v: at least two heartbeats must fit into the shortest election timeout, and the longest must be a quarter longer, up to a minute", t)
	}
	return nil
}

// engine is what the engine is told. A leader that has not heard from a majority for two election timeouts knows that there is
// another one by now, and gives up.
func (t Timers) engine() engineTimers {
	return engineTimers{
		minElection: t.ElectionMin, maxElection: t.ElectionMax,
		minCampaign: min(100*time.Millisecond, t.ElectionMin/5), maxCampaign: min(800*time.Millisecond, t.ElectionMin),
		heartbeat: t.Heartbeat, lostQuorum: 2 * t.ElectionMax, lostQuorumCheck: t.ElectionMax / 2,
	}
}

// setTimers tells the engine. It refuses an engine that is not the one these timers were made for, and other timers than those
// that a running engine of this process has. The first call in a process must not race another.
func setTimers(t Timers) error {
	want := t.engine()
	switch now := currentTimers(); now {
	case want:
		return nil
	case upstream():
	default:
		return fmt.Errorf("jet: the engine's timers are %+v, which are neither its own (%+v) nor those wanted (%+v): either this process runs an engine with other timers already, or this build has another version of the engine, whose timers must be looked at first",
			now, upstream(), want)
	}
	minElectionTimeout, maxElectionTimeout = want.minElection, want.maxElection
	minCampaignTimeout, maxCampaignTimeout = want.minCampaign, want.maxCampaign
	hbInterval, lostQuorumInterval, lostQuorumCheck = want.heartbeat, want.lostQuorum, want.lostQuorumCheck
	return nil
}
