namespace HybridArchitectures.Reports.Tests.Packages;

/// <summary>A user's program, from its first line on.</summary>
static class ScratchProgram
{
    public const string LastWords = "forward and backward ran";

    public const string Text = """
        TorchSharp.torch.manual_seed(0);
        using var scope = TorchSharp.torch.NewDisposeScope();
        var x = TorchSharp.torch.rand(3, 4).requires_grad_();
        var y = HybridArchitectures.Kernels.Runtime.Autograd.Apply([x], _ => [x * x], context => [context.Gradients[0]! * 2 * x])[0];
        HybridArchitectures.Kernels.Runtime.Autograd.Backward(y.sum());
        if (!x.grad!.allclose(2 * x)) return 1;
        System.IO.File.WriteAllBytes("loss.png", HybridArchitectures.Reports.LossPlot.Png([]));
        System.Console.WriteLine("forward and backward ran");
        return 0;
        """;
}
