"""What was published about LR-Net and the networks it was compared with.

Test accuracies of Ganj, Ebadpour, Darvish and Bahador (2023), doi:10.1007/s40998-023-00618-5. Those runs were stopped
by, and the best epoch chosen on, the test images, which makes them too good by an unknown amount.
"""

# By data set and network, shares in [0, 1].
PUBLISHED_ACCURACY = {
    "digits": {"lrnet": 0.9947, "vgg16": 0.924, "inception_v3": 0.9331},
    "fashion": {"lrnet": 0.9503, "vgg16": 0.742, "inception_v3": 0.9444},
    "oracle": {"lrnet": 0.9513, "vgg16": 0.526, "inception_v3": 0.926},
}
