package jet

// scanCluster reads and checks the records and the books of a cluster's site.
func scanCluster(dir string, n int, m *marks, b books) ([]extent, error) {
	return scanAll(dir, n, m)
}
