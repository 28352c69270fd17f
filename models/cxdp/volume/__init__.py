"""Plain measures of one volume and the limits that good ones keep to, beside what a network says of it."""
