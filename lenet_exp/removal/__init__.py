"""`lenet-sweep rm` and `du`: what is removed, what stays, and how much disk space it takes."""
