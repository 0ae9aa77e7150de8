"""
A recommender from two embeddings
=================================

The second use of embeddings in the NumPy autograd text: a vector for each user and one for each item, whose
product is the rating. Ratings from the wild have no known answer; these are generated from vectors that we
know, so that what was found can be held against what is there.
"""

# %%
# Ratings with a known answer
# ---------------------------
# 300 users and 200 items have 3 hidden numbers each. A rating is 3.5 and their product, and noise with a
# deviation of 0.3. A fifth of all pairs is rated; a fifth of these is held out.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

USERS, ITEMS, RANK, NOISE = 300, 200, 3, 0.3
generator = np.random.default_rng(0)
true_users = generator.normal(0, 0.7, (USERS, RANK))
true_items = generator.normal(0, 0.7, (ITEMS, RANK))
answer = 3.5 + true_users @ true_items.T
user, item = np.divmod(generator.permutation(USERS * ITEMS)[:12_000], ITEMS)
rating = (answer[user, item] + generator.normal(0, NOISE, len(user))).astype("float32")
training, test = slice(2400, None), slice(2400)
print(f"{len(user)} ratings from {rating.min():.1f} to {rating.max():.1f}, deviation {rating.std():.2f}")

# %%
# Matrix factorisation
# --------------------
# Besides the vectors each user and each item have a number of their own: some people like everything.


class Recommender(nn.Module):
    def __init__(self, rank):
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, rank), nn.Embedding(ITEMS, rank)
        self.user_bias, self.item_bias = nn.Embedding(USERS, 1), nn.Embedding(ITEMS, 1)
        for vectors in self.children():
            nn.init.normal_(vectors.weight, 0, 0.1)

    def forward(self, user, item):
        product = (self.user(user) * self.item(item)).sum(1)
        return 3.5 + product + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]


def error(model, part):
    with rt.no_grad():
        return float(np.sqrt(np.mean((model(user[part], item[part]).numpy() - rating[part]) ** 2)))


def fit(rank, epochs=30):
    rt.manual_seed(0)
    model = Recommender(rank)
    optimizer = train.optim.Adam(model.parameters(), lr=0.02)
    schedule = train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    order = np.random.default_rng(0)
    curve = []
    for _ in range(epochs):
        for batch in np.array_split(2400 + order.permutation(9600), 75):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(user[batch], item[batch]), rt.tensor(rating[batch])).backward()
            optimizer.step()
        schedule.step()
        curve.append((error(model, training), error(model, test)))
    return model, curve


ranks = (1, 3, 20)
fits = {rank: fit(rank) for rank in ranks}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (rank, (_, curve)) in enumerate(fits.items()):
    print(f"rank {rank:>2}: error {curve[-1][0]:.3f} in training, {curve[-1][1]:.3f} held out")
    epochs = range(1, len(curve) + 1)
    ax.plot(epochs, [held_out for _, held_out in curve], color=f"C{i}", label=f"rank {rank}, held out")
    ax.plot(epochs, [seen for seen, _ in curve], color=f"C{i}", linestyle=":", label=f"rank {rank}, training")
ax.axhline(NOISE, color="black", linewidth=0.8, label="the noise")
ax.set(
    xlabel="epochs", ylabel="root mean square error (rating points)", title="One rank is right", ylim=(0, 1.2)
)
_ = ax.legend(ncols=2, loc="upper right")
held_out_error = {rank: curve[-1][1] for rank, (_, curve) in fits.items()}
assert min(held_out_error, key=held_out_error.get) == RANK
assert NOISE < held_out_error[RANK] < 1.35 * NOISE
assert fits[20][1][-1][0] < NOISE < held_out_error[20]

# %%
# A rank too small cannot hold the answer; one too large learns the noise of what it has seen.
#
# What was found
# --------------
# The vectors themselves cannot be found: turn those of the users and turn those of the items back, and no
# rating changes. What can be found is the space that they span. Its angles to the true one, from the
# singular values of the product of two orthonormal bases, are small; to vectors drawn at random they are
# not.


def angles(a, b):
    a, b = (np.linalg.qr(vectors - vectors.mean(axis=0))[0] for vectors in (a, b))
    return np.degrees(np.arccos(np.clip(np.linalg.svd(a.T @ b, compute_uv=False), -1, 1)))


model, _ = fits[RANK]
found = model.item.weight.detach().numpy()
found_angles = angles(found, true_items)
print("angles between the spaces (degrees):", np.round(found_angles, 1))
print("for random vectors:", np.round(angles(generator.normal(size=found.shape), true_items), 1))
assert found_angles.max() < 15

# %%
# So the ratings that nobody gave are known as well, without noise:

with rt.no_grad():
    everyone, everything = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    predicted = model(everyone, everything).numpy().reshape(USERS, ITEMS)
rated = np.zeros((USERS, ITEMS), dtype=bool)
rated[user[training], item[training]] = True
correlation = np.corrcoef(predicted[~rated], answer[~rated])[0, 1]
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(answer[~rated][::40], predicted[~rated][::40], ".", markersize=3, label="pairs that nobody rated")
ax.axline((3.5, 3.5), slope=1, color="black", linewidth=0.8, label="equal")
ax.set(xlabel="true rating", ylabel="predicted rating", title=f"Correlation {correlation:.3f}")
_ = ax.legend()
assert correlation > 0.95

# %%
# The first user has not rated these items, and likes them best by the model; their true places among all of
# them:

best = np.argsort(np.where(rated[0], -np.inf, predicted[0]))[::-1][:5]
places = (answer[0][:, None] < answer[0][best]).sum(axis=0)
for one, place in zip(best, places, strict=True):
    print(
        f"item {one:>3}: predicted {predicted[0, one]:.2f}, true {answer[0, one]:.2f}, better than {place} of {ITEMS}"
    )
assert places.mean() > 0.8 * ITEMS
