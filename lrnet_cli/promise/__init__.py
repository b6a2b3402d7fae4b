"""What labelled images allow to promise of labels: a bounded error rate, sets of labels, an audit; numbers only."""
