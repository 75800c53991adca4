"""Does "not there" mean that it is not there: false support, abstention, risk by coverage."""
