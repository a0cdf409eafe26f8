package jet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bongsu/journal"
)

// noise is n bytes that do not compress.
func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		data := noise(size)
		b.Run(fmt.Sprintf("serial/%dKiB", size>>10), func(b *testing.B) {
			j := open(b, Config{Dir: b.TempDir()})
			b.SetBytes(int64(size))
			for i := range b.N {
				if _, err := j.Append(b.Context(), 0, fmt.Sprint(i), data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
		b.Run(fmt.Sprintf("parallel/%dKiB", size>>10), func(b *testing.B) {
			j := open(b, Config{Dir: b.TempDir()})
			b.SetBytes(int64(size))
			b.SetParallelism(32) // 64 senders on 2 processors
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				p := journal.Partition(n.Add(1) % 4)
				for pb.Next() {
					if _, err := j.Append(b.Context(), p, fmt.Sprint(n.Add(1)), data); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkAppendSites compares one node with three, over loopback and on one disk: 1 sender and 64, over four partitions.
func BenchmarkAppendSites(b *testing.B) {
	data := noise(1 << 10)
	for _, senders := range []int{1, 64} {
		run := func(b *testing.B, nodes []*Journal) {
			var n atomic.Int64
			b.ResetTimer()
			var wg sync.WaitGroup
			for range senders {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, err := nodes[i%int64(len(nodes))].Append(b.Context(), journal.Partition(i%4), fmt.Sprint(i), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		}
		b.Run(fmt.Sprintf("one/%d", senders), func(b *testing.B) {
			run(b, []*Journal{open(b, Config{Dir: b.TempDir()})})
		})
		b.Run(fmt.Sprintf("three/%d", senders), func(b *testing.B) {
			c := startTrio(b, 4, nil)
			run(b, slices.Collect(maps.Values(c.nodes)))
		})
	}
}

// BenchmarkFollow reads history.
func BenchmarkFollow(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			const n = 2000
			dir, j := filled(b, n, size)
			closed(b, j)
			j = open(b, Config{Dir: dir})
			_, last, err := j.Bounds(b.Context(), 0)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ResetTimer()
			for done := 0; done < b.N; {
				err := j.Follow(b.Context(), 0, 0, func(e journal.Entry) error {
					if done++; done >= b.N || e.Pos == last {
						return errEnough
					}
					return nil
				})
				if err != errEnough {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// filled is a journal with n records over four partitions.
func filled(b *testing.B, n, size int) (string, *Journal) {
	dir := b.TempDir()
	j := open(b, Config{Dir: dir})
	data := noise(size)
	var next atomic.Int64
	done := make(chan error)
	for p := range journal.Partition(4) {
		for range 4 {
			go func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					if _, err := j.Append(b.Context(), p, fmt.Sprint(i), data); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
	}
	for range 16 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return dir, j
}

// BenchmarkOpen starts on an empty directory, and on 100,000 records of 1 KiB, after a clean stop and after a crash (the
// engine's index is old then, and it reads everything again).
func BenchmarkOpen(b *testing.B) {
	b.Run("empty", func(b *testing.B) {
		for b.Loop() {
			closed(b, open(b, Config{Dir: b.TempDir()}))
		}
	})
	if testing.Short() {
		return
	}
	dir, j := filled(b, 100_000, 1<<10)
	crashed := b.TempDir() + "/copy"
	copyTo(b, dir, crashed)
	closed(b, j)
	for _, c := range []struct{ name, dir string }{{"100000/clean", dir}, {"100000/crashed", crashed}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				d := b.TempDir() + "/copy"
				copyTo(b, c.dir, d)
				b.StartTimer()
				j := open(b, Config{Dir: d})
				b.StopTimer()
				closed(b, j)
				b.StartTimer()
			}
		})
	}
	b.Run("100000/scan alone", func(b *testing.B) {
		m, err := openMarks(dir+"/"+marksFile, 4, false)
		if err != nil {
			b.Fatal(err)
		}
		defer m.close()
		for b.Loop() {
			found, err := scanAll(dir, 4, m)
			if err != nil {
				b.Fatal(err)
			}
			total := int64(0)
			for _, x := range found {
				total += x.bytes
			}
			b.SetBytes(total)
		}
	})
}

// BenchmarkIdle reports the processor time that an idle journal with a follower on each of four partitions takes, in percent
// of one processor. Run it with -benchtime 1x.
func BenchmarkIdle(b *testing.B) {
	j := open(b, Config{Dir: b.TempDir()})
	for p := range journal.Partition(4) {
		if _, err := j.Append(b.Context(), p, "x", nil); err != nil {
			b.Fatal(err)
		}
		go func() { _ = j.Follow(b.Context(), p, 0, func(journal.Entry) error { return nil }) }()
	}
	time.Sleep(3 * time.Second) // the start is no idling
	b.ResetTimer()
	used := cpu()
	for range b.N {
		time.Sleep(10 * time.Second)
	}
	b.ReportMetric(float64(cpu()-used)/float64(b.Elapsed())*100, "%cpu")
}

// cpu is the processor time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSync is what the disk can do: write and sync, nothing else. The other figures are to be read beside it.
func BenchmarkSync(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			f, err := os.Create(b.TempDir() + "/file")
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			data := noise(size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := f.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
		})
	}
}
