using HybridArchitectures.Kernels.Runtime;
using TorchSharp;

if (args is ["library"]) TorchLibrary.EnsureLoaded();
torch.manual_seed(0);
Console.WriteLine($"sum {torch.ones(3).sum().item<float>()}");
