# Somebody else deploys: a second task set grows, becomes the primary one, and the first is retired
seed 13
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 1s register web image web cpu 128 memory 128
at 2s external web desired 4
at 3s taskset web of web scale 100
at 4s promote web
at 60s register web image web cpu 128 memory 128
at 61s taskset web of web:2 scale 50
at 80s kill server for 5s
at 90s scale web to 100
at 95s crash any container
at 110s promote web
at 111s retire web
expect web runs 4 of web:2
