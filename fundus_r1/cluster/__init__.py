"""Kubernetes: the jobs that a run makes there, who starts and follows them, and what is looked at before.

=====================  ================================================================================
``child``              what a job of ours is called and how it is known again
``manifests/``         the jobs as pure functions: spec -> dict
``client``             one small client: get, list, create, patch, delete, watch, logs; over a `connection`
``state``              what the objects of a job say: queued, running, succeeded or failed
``launch``             the protocol: create or adopt, follow, end well or with a diagnosis
``verdict``            when a launcher has seen enough: two clocks, silent operators, pods that cannot start
``owners``, ``hold``   whose the job is; its signs of life, and its end when the launcher is told to end
``follow``, ``logs``   the job's pods and what they print; ``evidence`` is what else is looked up
``diagnose``           why a job failed, and whether another try may help
``signs``              what a log's last lines say of a failure; ``faults`` what a pod says, ``surroundings``
                       what the job and the events around it say; ``story`` tells all of it
``reap``               what nobody follows any more
``preflight``          whether a run would find all it `needs`, as rows of `check`; ``preflight_*`` look
=====================  ================================================================================
"""
