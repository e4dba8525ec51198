using System.Reflection;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using Xunit.v3;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Turns gradients on before each test if the tests run under Wine, where an exception out of libtorch leaves them off on its thread and would
/// disturb the tests after it.
/// </summary>
[AttributeUsage(AttributeTargets.Assembly)]
sealed class GradientsUnderWineAttribute : BeforeAfterTestAttribute
{
    public override void Before(MethodInfo methodUnderTest, IXunitTest test)
    {
        if (!UnderWine.IsOn) return;
        TorchLibrary.EnsureLoaded();
        torch.set_grad_enabled(true);
    }
}
