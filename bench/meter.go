package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// usage is what processes have used so far, all servers together.
type usage struct {
	user, sys time.Duration // where the two are not known apart, all is user
	rss       int64         // bytes
	largest   int64         // bytes: the RSS of the largest process
	heap      int64         // bytes of Go heap and stacks in use; 0 where /metrics does not tell
}

// ticksPerSecond is USER_HZ, the unit of /proc/PID/stat. It is 100 on every Linux platform that Go runs on.
const ticksPerSecond = 100

// meter reads what the servers use: from /proc when it has process ids, from their /metrics otherwise.
type meter struct {
	pids    []int
	clients []*client
	mu      sync.Mutex
	peak    int64 // largest RSS seen
}

func newMeter(s *servers, pids []int) *meter {
	quiet := &servers{urls: s.urls, loopbackOnly: s.loopbackOnly, timeout: 5 * time.Second, tally: &tally{}}
	m := &meter{pids: pids}
	for i := range s.urls {
		m.clients = append(m.clients, quiet.client(i, ""))
	}
	return m
}

func (m *meter) close() {
	for _, c := range m.clients {
		c.close()
	}
}

// read takes a reading.
func (m *meter) read(ctx context.Context) (usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum usage
	add := func(u usage) {
		sum.user += u.user
		sum.sys += u.sys
		sum.rss += u.rss
		sum.heap += u.heap
		sum.largest = max(sum.largest, u.rss)
	}
	for _, pid := range m.pids {
		u, err := readProc(pid)
		if err != nil {
			return sum, err
		}
		add(u)
	}
	if len(m.pids) == 0 {
		for _, c := range m.clients {
			u, err := c.readMetrics(ctx)
			if err != nil {
				return sum, err
			}
			add(u)
		}
	}
	m.peak = max(m.peak, sum.largest)
	return sum, nil
}

// highest is the largest RSS of a process that any reading saw.
func (m *meter) highest() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// heap is the Go memory in use by the servers, 0 if they do not tell.
func (m *meter) heap(ctx context.Context) (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clients {
		if u, err := c.readMetrics(ctx); err == nil {
			n += u.heap
		}
	}
	return n
}

// watch follows the peak until ctx ends.
func (m *meter) watch(ctx context.Context) {
	for sleep(ctx, 500*time.Millisecond) {
		_, _ = m.read(ctx) // a server that is down for the moment has no memory to speak of
	}
}

func readProc(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The command's name stands in parentheses and may hold anything; utime and stime are fields 14 and 15.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 22 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	var n [3]int64
	for i, at := range []int{11, 12, 21} {
		if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return u, err
		}
	}
	u.user, u.sys = time.Duration(n[0])*time.Second/ticksPerSecond, time.Duration(n[1])*time.Second/ticksPerSecond
	u.rss = n[2] * int64(os.Getpagesize())
	return u, nil
}

func (c *client) readMetrics(ctx context.Context) (u usage, err error) {
	resp, err := c.attempt(ctx, &request{method: http.MethodGet, path: []byte("/metrics"), timeout: c.timeout}, nil)
	if err != nil {
		c.close()
		return u, err
	}
	if resp.status != http.StatusOK {
		return u, fmt.Errorf("/metrics answered %d", resp.status)
	}
	return parseMetrics(string(resp.body))
}

func parseMetrics(text string) (u usage, err error) {
	found := false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_cpu_seconds_total":
			u.user, found = time.Duration(v*float64(time.Second)), true
		case "process_resident_memory_bytes":
			u.rss = int64(v)
		case "go_memstats_heap_inuse_bytes", "go_memstats_stack_inuse_bytes":
			u.heap += int64(v)
		}
	}
	if !found {
		return u, fmt.Errorf("/metrics has no process_cpu_seconds_total")
	}
	return u, nil
}

// ownUsage is what this process has used.
func ownUsage() (u usage) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return u
	}
	u.user, u.sys = time.Duration(ru.Utime.Nano()), time.Duration(ru.Stime.Nano())
	u.largest = ru.Maxrss << 10 // kilobytes on Linux
	return u
}
