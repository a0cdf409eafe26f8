package drill

func scenarioNames() []string {
	return []string{"full", "burns", "random"}
}
