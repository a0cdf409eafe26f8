package drill

import "context"

// StartCluster starts a cluster of n sites for a test.
func StartCluster(ctx context.Context, bin, dir string, n int) (*Cluster, error) {
	cfg, err := Config{Bin: bin, Sites: n}.resolve()
	if err != nil {
		return nil, err
	}
	c, err := newCluster(ctx, clusterConfig{bin: bin, dir: dir, sites: n, checkpoints: cfg.Checkpoints})
	if err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}
