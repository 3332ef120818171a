# A blue/green deployment that an alarm stopped, with none to go back to, replaces nothing more though its tasks are healthy
seed 12514
at 0s machine m3 cores 8 memory 8668
at 0s image plain runs
at 0s image deaf ignores stops
at 1s register s1 image deaf cpu 64 memory 192
at 9499ms service s1 of s1 desired 4 minimum 50 maximum 200 alarm rolls back blue-green bake 0s pause POST_SCALE_UP for 120s
at 250426ms register s1 image plain cpu 128 memory 192
at 250426ms update s1 to s1
at 279889ms alarm s1 for 6553ms
