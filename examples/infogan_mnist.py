"""InfoGAN on MNIST: the complete method in one file of plain PyTorch.

The networks and settings are those of the blog post "InfoGAN: unsupervised conditional GAN in TensorFlow and Pytorch"
(Agustinus Kristiadi, 2017; its TensorFlow version). The generator G draws an image from noise z and a category c. The
discriminator D estimates the probability that an image is real. The recognizer Q predicts c from a generated image.
No labels are used. The result is a picture with one column per category. A column is not
always one digit: training only requires that Q can recognise the categories.

    python examples/infogan_mnist.py train-images-idx3-ubyte.gz --steps 20000
    python examples/infogan_mnist.py --digits --steps 10000

The first command reads an MNIST image file: IDX (plain or gzip), or an .npz file with the array x_train, such as
Keras' mnist.npz. The second uses the 8x8 digits that come with scikit-learn, so it needs no download.

References: Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661; Chen et al. 2016, "InfoGAN",
arXiv:1606.03657. The same program in Keras: infogan_mnist_keras.py.
"""

import argparse
import gzip

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

NOISE, CATEGORIES, BATCH, LEARNING_RATE = 16, 10, 32, 1e-3


def load_images(path: str) -> np.ndarray:
    """Return the 28x28 images of an IDX file (after its header of 16 bytes) or .npz file, as rows in [0, 1]."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        pixels = np.load(file)["x_train"] if path.endswith(".npz") else np.frombuffer(file.read()[16:], np.uint8)
    return pixels.reshape(-1, 28 * 28).astype(np.float32) / 255


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Build a network with one hidden layer. Weights are drawn from N(0, 2 / inputs), biases are 0."""
    layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def build_networks(pixels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Build the generator G, the discriminator D and the recognizer Q. D and Q return logits."""
    G = nn.Sequential(perceptron(NOISE + CATEGORIES, 256, pixels), nn.Sigmoid())
    D = perceptron(pixels, 128, 1)  # D(x) = sigmoid(logit)
    Q = perceptron(pixels, 128, CATEGORIES)  # Q(c|x) = softmax(logits)
    return G, D, Q


def build_optimizers(G: nn.Module, D: nn.Module, Q: nn.Module) -> list[torch.optim.Adam]:
    """Build one optimizer for each loss, over the parameters that the loss updates."""
    players = [[*D.parameters()], [*G.parameters()], [*G.parameters(), *Q.parameters()]]
    return [torch.optim.Adam(parameters, lr=LEARNING_RATE) for parameters in players]


def sample_latents(count: int) -> tuple[Tensor, Tensor]:
    """Draw noise z, uniform on [-1, 1], and one-hot categories c, all equally likely."""
    c = torch.randint(CATEGORIES, (count,))
    return 2 * torch.rand(count, NOISE) - 1, F.one_hot(c, CATEGORIES).float()


# The losses take logits because a sigmoid or softmax p rounds to 0 or 1, where log(p) or log(1 - p) is infinite. From a
# logit a, -log(sigmoid(a)) = softplus(-a) and -log(1 - sigmoid(a)) = softplus(a) are finite for every a.


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the loss of D on a batch of real and a batch of generated images."""
    # Goodfellow et al. 2014, eq. 1: D maximises  E[log D(x)] + E[log(1 - D(G(z, c)))]
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the adversarial loss of G on a batch of generated images."""
    # Goodfellow et al. 2014, section 3: G maximises  E[log D(G(z, c))]
    return F.softplus(-fake_logits).mean()


def information_loss(category_logits: Tensor, c: Tensor) -> Tensor:
    """Return the cross-entropy of Q for the categories c that the images were generated with."""
    # Chen et al. 2016, eq. 4 and 5: G and Q maximise  L_I = E[log Q(c|G(z, c))] + H(c) <= I(c; G(z, c));  H(c) = log 10
    return F.cross_entropy(category_logits, c)


def minimise(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take one step of gradient descent."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train_step(networks: tuple, optimizers: list, x: Tensor, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise the three losses one after the other, and return them."""
    (G, D, Q), (d_optimizer, g_optimizer, q_optimizer) = networks, optimizers
    zc = torch.cat([z, c], dim=1)
    d_loss = discriminator_loss(D(x), D(G(zc).detach()))  # 1. D learns to tell real images from generated ones
    minimise(d_loss, d_optimizer)
    g_loss = generator_loss(D(G(zc)))  # 2. G learns to draw images that D takes for real
    minimise(g_loss, g_optimizer)
    q_loss = information_loss(Q(G(zc)), c)  # 3. G learns to show c in its images, and Q learns to recognise it
    minimise(q_loss, q_optimizer)
    return d_loss, g_loss, q_loss


def save_picture(G: nn.Module, path: str, rows: int = 8) -> None:
    """Save generated images in a grid. A column shows one category, a row shares the same noise."""
    z = sample_latents(rows)[0].repeat_interleave(CATEGORIES, dim=0)
    c = torch.eye(CATEGORIES).repeat(rows, 1)
    images = G(torch.cat([z, c], dim=1)).detach().numpy()
    side = int(images.shape[1] ** 0.5)
    grid = np.kron(images.reshape(-1, side, side), np.ones((56 // side, 56 // side)))  # cells of 56 x 56 pixels
    grid = np.pad(grid, ((0, 0), (2, 2), (2, 2)), constant_values=0.5)  # and a grey border
    grid = grid.reshape(rows, CATEGORIES, 60, 60).swapaxes(1, 2).reshape(60 * rows, 60 * CATEGORIES)
    Image.fromarray(np.uint8(255 * grid)).save(path)


def main() -> None:
    """Read the command line, train and save the picture."""
    parser = argparse.ArgumentParser(description="Train InfoGAN and save a picture with one column per category.")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("path", nargs="?", help="MNIST images: IDX (plain or gzip) or .npz")
    data.add_argument("--digits", action="store_true", help="8x8 digits of scikit-learn")
    parser.add_argument("--steps", type=int, default=20_000, help="number of training steps")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--out", default="infogan_mnist.png", help="picture to write")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    images = torch.from_numpy(load_digits().data.astype(np.float32) / 16 if args.digits else load_images(args.path))
    networks = build_networks(images.shape[1])
    optimizers = build_optimizers(*networks)
    for step in range(1, args.steps + 1):
        x = images[torch.randint(len(images), (BATCH,))]
        d_loss, g_loss, q_loss = train_step(networks, optimizers, x, *sample_latents(BATCH))
        if step % 1000 == 0 or step == args.steps:
            print(f"step {step}: D {d_loss:.3f}, G {g_loss:.3f}, L_I {np.log(10) - q_loss.item():.3f} of 2.303 nats")
    save_picture(networks[0], args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
