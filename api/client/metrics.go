package client

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	seconds  *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	catchUps prometheus.Counter
	refused  [classes]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, ad *admission) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bongsu_api_request_seconds", Help: "Time from a request's arrival to the end of its answer; for long polls with the wait.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"op"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bongsu_api_errors_total", Help: "Requests that were answered with an error.",
		}, []string{"op", "errcode", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bongsu_api_requests_in_flight", Help: "Requests that have arrived and are not answered, long polls included.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bongsu_api_panics_total", Help: "Panics in handlers.",
		}),
		catchUps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bongsu_api_catch_ups_total", Help: "Denials that waited for the state to be brought up to date.",
		}),
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bongsu_api_refused_total", Help: "Requests that were not let in, by class: this site had too much to do.",
	}, []string{"class"})
	for c := range m.refused {
		m.refused[c] = refused.WithLabelValues(Class(c).String())
	}
	overload := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bongsu_api_overload_level", Help: "How many classes of requests are refused for lack of processors, from 0 to 4.",
	}, func() float64 { return float64(ad.level.Load()) })
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.seconds, m.errors, m.inFlight, m.panics, m.catchUps, refused, overload} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("api/client: %w", err)
		}
	}
	return m, nil
}
