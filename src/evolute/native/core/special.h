#pragma once
#include <math.h>
#include "vector.h"
#include <cmath>
namespace evolute {
namespace EVOLUTE_PATH {
#define ONE(name, expr) struct name##_ { static Floats of(Floats v) { for (int i=0;i<width;++i){ double x=v[i]; (void)x; v[i]=(float)(expr);} return v; } };
ONE(log, ::log(::fabs(x)+1e-7))
ONE(exp, ::exp(x))
ONE(sigmoid, 1/(1+::exp(-x)))
ONE(softplus, x>0? x+::log1p(::exp(-x)) : (x!=x? x : ::log1p(::exp(x))))
ONE(erf, ::erf(x))
ONE(erfc, ::erfc(x))
ONE(arcsinh, ::asinh(x))
ONE(tanh, ::tanh(x))
ONE(arctan, ::atan(x))
ONE(bessel_i1e, (x<0?-1:1)*std::cyl_bessel_i(1.0,::fabs(x))*::exp(-::fabs(x)))
ONE(dtanh, 1-::tanh(x)*::tanh(x))
ONE(dsigmoid, 1/((1+::exp(x))*(1+::exp(-x))))
struct abs_pow_ { static Floats of(Floats a, Floats b) { for (int i=0;i<width;++i) a[i]=(float)::pow(::fabs((double)a[i]),(double)b[i]); return a; } };
}
}
