"""Where breaker state, cool-downs, rates and budgets live: in this process, or shared by many."""
