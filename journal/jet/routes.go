package jet

// Routed reports whether this site's engine is connected with that of another site; when in doubt it is.
func (j *Journal) Routed(site string) bool {
	e := j.present()
	if e == nil {
		return false
	}
	routes, err := e.srv.Routez(nil)
	if err != nil {
		return true
	}
	for _, r := range routes.Routes {
		if r.RemoteName == site {
			return true
		}
	}
	return false
}

// Undrain lets this site lead again after Drain.
func (j *Journal) Undrain() { j.draining.Store(false) }
